"""The names that MAXIM's authors gave the weights, for those of `networks.maxim`."""

import re

_RULES = (  # the rest of a name follows unchanged
    (r"stage_(\d+)\.in_(\d+)/", r"stage_\1_input_conv_\2/"),
    (r"stage_(\d+)\.in_fusion_(\d+)\.x_conv/", r"stage_\1_input_fuse_sam_\2/Conv_0/"),
    (r"stage_(\d+)\.in_fusion_(\d+)\.y_conv/", r"stage_\1_input_fuse_sam_\2/Conv_1/"),
    (r"stage_(\d+)\.in_fusion_(\d+)/", r"stage_\1_input_fuse_sam_\2/"),
    (r"stage_(\d+)\.encoder_(\d+)\.fusion/", r"stage_\1_encoder_block_\2/"),
    (r"stage_(\d+)\.encoder_(\d+)\.down/", r"stage_\1_encoder_block_\2/Conv_1/"),
    (r"stage_(\d+)\.encoder_(\d+)\.gating\.x_conv/", r"stage_\1_encoder_block_\2/cross_gating_block/Conv_0/"),
    (r"stage_(\d+)\.encoder_(\d+)\.gating\.y_conv/", r"stage_\1_encoder_block_\2/cross_gating_block/Conv_1/"),
    (r"stage_(\d+)\.encoder_(\d+)\.gating/", r"stage_\1_encoder_block_\2/cross_gating_block/"),
    (r"stage_(\d+)\.encoder_(\d+)\.mlp_(\d+)/", r"stage_\1_encoder_block_\2/SplitHeadMultiAxisGmlpLayer_\3/"),
    (r"stage_(\d+)\.encoder_(\d+)\.attention_(\d+)/", r"stage_\1_encoder_block_\2/channel_attention_block_1\3/"),
    (r"stage_(\d+)\.bottleneck_(\d+)\.conv/", r"stage_\1_global_block_\2/input_proj/"),
    (r"stage_(\d+)\.bottleneck_(\d+)\.mlp_(\d+)/", r"stage_\1_global_block_\2/SplitHeadMultiAxisGmlpLayer_\3/"),
    (r"stage_(\d+)\.bottleneck_(\d+)\.attention_(\d+)/", r"stage_\1_global_block_\2/channel_attention_block_1_\3/"),
    (r"stage_(\d+)\.gating_(\d+)\.up/Conv_0\.", r"stage_\1_cross_gating_block_\2/Conv_1/"),
    (r"stage_(\d+)\.gating_(\d+)(\.fusion|\.up)?/", r"stage_\1_cross_gating_block_\2/"),
    (r"stage_(\d+)\.decoder_(\d+)\.fusion/Conv_0\.", r"stage_\1_decoder_block_\2/UNetEncoderBlock_0/Conv_0/"),
    (r"stage_(\d+)\.decoder_(\d+)\.fusion/", r"stage_\1_decoder_block_\2/"),
    (
        r"stage_(\d+)\.decoder_(\d+)\.mlp_(\d+)/",
        r"stage_\1_decoder_block_\2/UNetEncoderBlock_0/SplitHeadMultiAxisGmlpLayer_\3/",
    ),
    (
        r"stage_(\d+)\.decoder_(\d+)\.attention_(\d+)/",
        r"stage_\1_decoder_block_\2/UNetEncoderBlock_0/channel_attention_block_1\3/",
    ),
    (r"stage_(\d+)\.attention_(\d+)/", r"stage_\1_supervised_attention_module_\2/"),
)
_SCALED = re.compile(r"stage_(\d+)\.(gating|decoder)_(\d+)\.fusion/scaled_(\d+)\.")
_OUTPUT = re.compile(r"stage_(\d+)\.out_(\d+)/")


def authors_names(path: str, depth: int) -> tuple[str, ...]:
    """Return what the authors call the weight of the path `path` in a network of `depth`: all that it may be called.

    A stage's output convolution belongs to a supervised attention, in the last stage of a network it does not.
    """
    if match := _OUTPUT.match(path):
        stage, level = match.groups()
        rest = path[match.end() :]
        return (
            f"stage_{stage}_supervised_attention_module_{level}/Conv_1/{rest}",
            f"stage_{stage}_output_conv_{level}/{rest}",
        )
    if match := _SCALED.match(path):
        # These are counted over the whole network, in the order in which it makes them.
        stage, level, j = int(match[1]), int(match[3]), int(match[4])
        number = (2 * stage + (match[2] == "decoder")) * depth**2 + depth * (depth - 1 - level) + j
        return (f"UpSampleRatio_{number}/Conv_0/{path[match.end() :]}",)
    for pattern, replacement in _RULES:
        if match := re.match(pattern, path):
            return ((match.expand(replacement) + path[match.end() :]).replace(".", "/"),)
    raise AssertionError(f"a weight without a name: {path}")
