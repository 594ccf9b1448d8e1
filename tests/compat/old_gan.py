"""A configurable GAN as programs of 2019 wrote it, in this project's own words: the source of a script."""

SOURCE = """
import os
import numpy as np
from keras.layers import Input, Conv2D, Flatten, Dense, Conv2DTranspose, Reshape, Activation
from keras.layers import BatchNormalization, LeakyReLU, Dropout, UpSampling2D
from keras.models import Model
from keras.optimizers import Adam, RMSprop
from keras.initializers import RandomNormal


class Forger():
    def __init__(self, input_dim, d_filters, d_strides, rate, g_start, g_upsample, g_filters, optimiser, z_dim):
        self.input_dim, self.z_dim, self.optimiser, self.rate = input_dim, z_dim, optimiser, rate
        self.d_filters, self.d_strides = d_filters, d_strides
        self.g_start, self.g_upsample, self.g_filters = g_start, g_upsample, g_filters
        self.weight_init = RandomNormal(mean=0., stddev=0.02)
        self._build_discriminator()
        self._build_generator()
        self._build_adversarial()

    def get_opti(self, lr):
        return Adam(lr, beta_1=0.5) if self.optimiser == 'adam' else RMSprop(lr)

    def set_trainable(self, m, val):
        m.trainable = val
        for l in m.layers:
            l.trainable = val

    def _build_discriminator(self):
        start = Input(shape=self.input_dim, name='discriminator_input')
        x = start
        for i in range(len(self.d_filters)):
            x = Conv2D(filters=self.d_filters[i], kernel_size=3, strides=self.d_strides[i], padding='same',
                       name='discriminator_conv_' + str(i), kernel_initializer=self.weight_init)(x)
            if i > 0:
                x = BatchNormalization(momentum=0.9)(x)
            x = Activation('relu')(x)
            x = Dropout(rate=0.2)(x)
        x = Dense(1, activation='sigmoid', kernel_initializer=self.weight_init)(Flatten()(x))
        self.discriminator = Model(start, x)

    def _build_generator(self):
        start = Input(shape=(self.z_dim,), name='generator_input')
        x = Dense(np.prod(self.g_start), kernel_initializer=self.weight_init)(start)
        x = Reshape(self.g_start)(LeakyReLU(0.2)(BatchNormalization(momentum=0.9)(x)))
        for i in range(len(self.g_filters)):
            if self.g_upsample[i] == 2:
                x = UpSampling2D()(x)
                x = Conv2D(filters=self.g_filters[i], kernel_size=3, padding='same', name='generator_conv_' + str(i),
                           kernel_initializer=self.weight_init)(x)
            else:
                x = Conv2DTranspose(filters=self.g_filters[i], kernel_size=3, padding='same', strides=1,
                                    name='generator_conv_' + str(i), kernel_initializer=self.weight_init)(x)
        self.generator = Model(start, Activation('tanh')(x))

    def _build_adversarial(self):
        self.discriminator.compile(optimizer=self.get_opti(self.rate), loss='binary_crossentropy',
                                   metrics=['accuracy'])
        self.set_trainable(self.discriminator, False)
        start = Input(shape=(self.z_dim,), name='model_input')
        self.model = Model(start, self.discriminator(self.generator(start)))
        self.model.compile(optimizer=self.get_opti(self.rate), loss='binary_crossentropy', metrics=['accuracy'])
        self.set_trainable(self.discriminator, True)

    def train_discriminator(self, x_train, batch_size):
        true_imgs = x_train[np.random.randint(0, x_train.shape[0], batch_size)]
        gen_imgs = self.generator.predict(np.random.normal(0, 1, (batch_size, self.z_dim)))
        d_loss_real, d_acc_real = self.discriminator.train_on_batch(true_imgs, np.ones((batch_size, 1)))
        d_loss_fake, d_acc_fake = self.discriminator.train_on_batch(gen_imgs, np.zeros((batch_size, 1)))
        return [d_loss_real, d_loss_fake, d_acc_real, d_acc_fake]

    def train_generator(self, batch_size):
        noise = np.random.normal(0, 1, (batch_size, self.z_dim))
        return self.model.train_on_batch(noise, np.ones((batch_size, 1)))


def moves(model, step):
    before = model.get_weights()
    step()
    return any((a != b).any() for a, b in zip(before, model.get_weights()))


forger = Forger((8, 8, 1), np.array([4, 6]), [2, 1], 0.001, (4, 4, 2), [2, 1], [3, 1], 'rmsprop', 5)
real = np.random.uniform(-1, 1, (16, 8, 8, 1))
moved = {'own': [], 'frozen': [], 'generator': []}
for step in range(3):
    moved['own'].append(moves(forger.discriminator, lambda: forger.train_discriminator(real, 4)))
    moved['frozen'].append(moves(forger.discriminator, lambda: forger.train_generator(4)))
    moved['generator'].append(moves(forger.generator, lambda: forger.train_generator(4)))
"""
