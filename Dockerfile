# deblurgan on a CPU. docs/install.md tells how it is built and run.
FROM python:3.12-slim AS build
RUN pip install --no-cache-dir uv==0.13.9
ENV UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
WORKDIR /source
COPY . .
# On x86-64 TensorFlow without CUDA, which is half as large; elsewhere it has none anyway. Its headers are not needed.
RUN echo "tensorflow; platform_machine != 'x86_64'" > overrides.txt \
    && uv venv /opt/deblurgan \
    && uv pip install --python /opt/deblurgan --override overrides.txt \
        ".[heic,video]" "tensorflow-cpu>=2.18; platform_machine == 'x86_64'" \
    && rm -r /opt/deblurgan/lib/python*/site-packages/tensorflow/include

FROM python:3.12-slim
COPY --from=build /opt/deblurgan /opt/deblurgan
# Whoever it runs as, only these are written to, besides /work.
RUN mkdir --mode 1777 /cache /work
VOLUME ["/cache", "/tmp"]
ENV PATH=/opt/deblurgan/bin:$PATH \
    HOME=/tmp \
    DEBLURGAN_CACHE=/cache \
    KERAS_HOME=/cache/keras
USER 1000:1000
WORKDIR /work
ENTRYPOINT ["deblurgan"]
CMD ["--help"]
