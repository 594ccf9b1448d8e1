"""The names that MAXIM's authors gave the weights, for those of `networks.maxim`."""

import re

_RULES = (  # for what follows the stage; the rest of a name is unchanged
    (r"in_(\d+)/", r"input_conv_\1/"),
    (r"in_fusion_(\d+)\.x_conv/", r"input_fuse_sam_\1/Conv_0/"),
    (r"in_fusion_(\d+)\.y_conv/", r"input_fuse_sam_\1/Conv_1/"),
    (r"in_fusion_(\d+)/", r"input_fuse_sam_\1/"),
    (r"encoder_(\d+)\.fusion/", r"encoder_block_\1/"),
    (r"encoder_(\d+)\.down/", r"encoder_block_\1/Conv_1/"),
    (r"encoder_(\d+)\.gating\.x_conv/", r"encoder_block_\1/cross_gating_block/Conv_0/"),
    (r"encoder_(\d+)\.gating\.y_conv/", r"encoder_block_\1/cross_gating_block/Conv_1/"),
    (r"encoder_(\d+)\.gating/", r"encoder_block_\1/cross_gating_block/"),
    (r"encoder_(\d+)\.mlp_(\d+)/", r"encoder_block_\1/SplitHeadMultiAxisGmlpLayer_\2/"),
    (r"encoder_(\d+)\.attention_(\d+)/", r"encoder_block_\1/channel_attention_block_1\2/"),
    (r"bottleneck_(\d+)\.conv/", r"global_block_\1/input_proj/"),
    (r"bottleneck_(\d+)\.mlp_(\d+)/", r"global_block_\1/SplitHeadMultiAxisGmlpLayer_\2/"),
    (r"bottleneck_(\d+)\.attention_(\d+)/", r"global_block_\1/channel_attention_block_1_\2/"),
    (r"gating_(\d+)\.up/Conv_0\.", r"cross_gating_block_\1/Conv_1/"),
    (r"gating_(\d+)(\.fusion|\.up)?/", r"cross_gating_block_\1/"),
    (r"decoder_(\d+)\.fusion/Conv_0\.", r"decoder_block_\1/UNetEncoderBlock_0/Conv_0/"),
    (r"decoder_(\d+)\.fusion/", r"decoder_block_\1/"),
    (r"decoder_(\d+)\.mlp_(\d+)/", r"decoder_block_\1/UNetEncoderBlock_0/SplitHeadMultiAxisGmlpLayer_\2/"),
    (r"decoder_(\d+)\.attention_(\d+)/", r"decoder_block_\1/UNetEncoderBlock_0/channel_attention_block_1\2/"),
    (r"attention_(\d+)/", r"supervised_attention_module_\1/"),
)
_SCALED = re.compile(r"(gating|decoder)_(\d+)\.fusion/scaled_(\d+)\.")
_OUTPUT = re.compile(r"out_(\d+)/")


def authors_names(path: str, depth: int) -> tuple[str, ...]:
    """Return what the authors call the weight of the path `path` in a network of `depth`: all that it may be called.

    A stage's output convolution belongs to a supervised attention, in the last stage of a network it does not.
    """
    stage, _, own = path.partition(".")
    if match := _OUTPUT.match(own):
        level, rest = match[1], own[match.end() :]
        return f"{stage}_supervised_attention_module_{level}/Conv_1/{rest}", f"{stage}_output_conv_{level}/{rest}"
    if match := _SCALED.match(own):
        # These are counted over the whole network, in the order in which it makes them.
        before = 2 * int(stage.removeprefix("stage_")) + (match[1] == "decoder")
        number = before * depth**2 + depth * (depth - 1 - int(match[2])) + int(match[3])
        return (f"UpSampleRatio_{number}/Conv_0/{own[match.end() :]}",)
    for pattern, replacement in _RULES:
        if match := re.match(pattern, own):
            return (f"{stage}_{match.expand(replacement)}{own[match.end() :]}".replace(".", "/"),)
    raise AssertionError(f"a weight without a name: {path}")
