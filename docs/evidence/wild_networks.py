"""The networks of `wild.py`: of timm, transformers, diffusers, peft and torch, from configurations, without weights.

`NETWORKS` gives for each name a function that builds the network and one batch of inputs for it. The packages are
imported when a network of theirs is built.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

Built = tuple[nn.Module, Any]


def _names(text: str) -> list[str]:
    return text.split()


TOKENS = 300  # the vocabulary of small models of language
BATCH, LENGTH = 2, 16

# One of each family, its smallest member or the one that most people use.
TIMM = [
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "seresnet50",
    "ecaresnet26t",
    "resnetv2_50",
    "resnetv2_50x1_bit",
    "res2net50_26w_4s",
    "resnest14d",
    "skresnet18",
    "tresnet_m",
    "densenet121",
    "vgg11_bn",
    "vgg16",
    "inception_v3",
    "inception_v4",
    "inception_resnet_v2",
    "legacy_xception",
    "xception41",
    "nasnetalarge",
    "pnasnet5large",
    "dla34",
    "dpn68",
    "vovnet39a",
    "ese_vovnet19b_dw",
    "cspresnet50",
    "cspdarknet53",
    "selecsls42",
    "hrnet_w18_small",
    "hgnet_tiny",
    "rdnet_tiny",
    "regnetx_002",
    "regnety_002",
    "regnetv_040",
    "bat_resnext26ts",
    "botnet26t_256",
    "halonet26t",
    "lambda_resnet26t",
    "gcresnet50t",
    "repvgg_a0",
    "mobileone_s0",
    "dm_nfnet_f0",
    "nfnet_l0",
    "nf_resnet50",
    "efficientnet_b0",
    "efficientnet_lite0",
    "tf_efficientnetv2_s",
    "mobilenetv2_100",
    "mobilenetv3_large_100",
    "mobilenetv4_conv_small",
    "mnasnet_100",
    "fbnetv3_b",
    "lcnet_050",
    "ghostnet_100",
    "ghostnetv2_100",
    "hardcorenas_a",
    "mixnet_s",
    "rexnet_100",
    "repvit_m1",
    "repghostnet_050",
    "starnet_s1",
    "fasternet_t0",
    "shvit_s1",
    "mobilevit_s",
    "mobilevitv2_050",
    "edgenext_xx_small",
    "edgenext_small",
    "fastvit_t8",
    "efficientformer_l1",
    "efficientformerv2_s0",
    "efficientvit_b0",
    "efficientvit_m0",
    "swiftformer_xs",
    "convnext_tiny",
    "convnextv2_tiny",
    "convmixer_768_32",
    "inception_next_tiny",
    "mambaout_femto",
    "caformer_s18",
    "convformer_s18",
    "poolformer_s12",
    "poolformerv2_s12",
    "vit_tiny_patch16_224",
    "vit_base_patch16_224",
    "vit_small_r26_s32_224",
    "vit_relpos_small_patch16_224",
    "vit_srelpos_small_patch16_224",
    "vit_base_patch16_siglip_224",
    "eva02_tiny_patch14_224",
    "beit_base_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "deit3_small_patch16_224",
    "cait_xxs24_224",
    "xcit_nano_12_p16_224",
    "xcit_small_12_p16_224",
    "convit_tiny",
    "crossvit_tiny_240",
    "coat_tiny",
    "coatnet_0_rw_224",
    "maxvit_tiny_tf_224",
    "maxvit_rmlp_pico_rw_256",
    "maxxvit_rmlp_nano_rw_256",
    "davit_tiny",
    "gcvit_xxtiny",
    "hiera_tiny_224",
    "levit_128s",
    "mixer_s16_224",
    "gmlp_s16_224",
    "resmlp_12_224",
    "mvitv2_tiny",
    "nest_tiny",
    "nextvit_small",
    "pit_ti_224",
    "pvt_v2_b0",
    "sequencer2d_s",
    "swin_tiny_patch4_window7_224",
    "swin_s3_tiny_224",
    "swinv2_tiny_window8_256",
    "swinv2_cr_tiny_224",
    "tiny_vit_5m_224",
    "tnt_s_patch16_224",
    "twins_svt_small",
    "twins_pcpvt_small",
    "visformer_tiny",
    "vitamin_small_224",
    "volo_d1_224",
    "focalnet_tiny_srf",
    "samvit_base_patch16_224",
    "naflexvit_base_patch16_gap",
]


def timm(name: str) -> Built:
    """A network of timm with its own default size of images."""
    import timm

    net = timm.create_model(name, pretrained=False, num_classes=10)
    return net, torch.randn(BATCH, *net.default_cfg["input_size"])


def tokens(count: int = TOKENS, length: int = LENGTH) -> torch.Tensor:
    """A batch of sequences of words."""
    return torch.randint(4, count, (BATCH, length))


def text(net: nn.Module, config: Any) -> Any:
    """A batch for a model of language."""
    return {"input_ids": tokens(min(TOKENS, getattr(config, "vocab_size", TOKENS)))}


def pairs(net: nn.Module, config: Any) -> Any:
    """A batch for an encoder with a decoder."""
    return {"input_ids": tokens(), "decoder_input_ids": tokens()}


def pixels(net: nn.Module, config: Any, side: int | None = None) -> Any:
    """A batch of images."""
    side = side or getattr(config, "image_size", 64)
    return {"pixel_values": torch.randn(BATCH, getattr(config, "num_channels", 3), side, side)}


def waves(net: nn.Module, config: Any) -> Any:
    """A batch of sounds."""
    return {"input_values": torch.randn(BATCH, 4000)}


def picture_and_text(net: nn.Module, config: Any) -> Any:
    """A batch of images and of sequences, as CLIP compares them."""
    return {**pixels(net, config.vision_config), "input_ids": tokens()}


def spectrogram(net: nn.Module, config: Any) -> Any:
    """A batch for Whisper."""
    frames = 2 * config.max_source_positions
    return {"input_features": torch.randn(BATCH, config.num_mel_bins, frames), "decoder_input_ids": tokens()}


def heard(net: nn.Module, config: Any) -> Any:
    """A batch of spectrograms for a classifier of sounds."""
    return {"input_values": torch.randn(BATCH, config.max_length, config.num_mel_bins)}


def series(net: nn.Module, config: Any) -> Any:
    """A batch of series of numbers."""
    return {"past_values": torch.randn(BATCH, config.context_length, config.num_input_channels)}


COMMON: dict[str, Any] = dict(
    vocab_size=TOKENS, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
    pad_token_id=0, bos_token_id=1, eos_token_id=2, use_cache=False,
)  # fmt: skip
VISION: dict[str, Any] = dict(
    hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, image_size=64, patch_size=16
)
ENCODER_DECODER: dict[str, Any] = dict(
    vocab_size=TOKENS, d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
    decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128, use_cache=False, pad_token_id=0,
    bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
)  # fmt: skip
GROUPED: dict[str, Any] = dict(COMMON, num_key_value_heads=2, head_dim=16)
EXPERTS: dict[str, Any] = dict(GROUPED, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32)
T5: dict[str, Any] = dict(
    vocab_size=TOKENS, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, use_cache=False, pad_token_id=0,
    eos_token_id=1, decoder_start_token_id=0,
)  # fmt: skip

# Name of the model, the automatic class that builds it, its settings, its inputs.
TRANSFORMERS: dict[str, tuple[str, str, dict[str, Any], Callable]] = {
    # Encoders of text
    **{f"{kind}-small": (kind, "SequenceClassification", COMMON, text) for kind in (
        "bert", "roberta", "electra", "albert", "mpnet", "convbert", "nystromformer", "yoso", "roformer", "rembert",
        "ernie", "camembert", "xlm-roberta", "big_bird", "esm", "megatron-bert", "layoutlm", "ibert",
        "deberta", "deberta-v2", "fnet", "mra", "modernbert",
    )},
    "distilbert-small": (
        "distilbert", "SequenceClassification", dict(COMMON, dim=64, n_heads=4, n_layers=2, hidden_dim=128), text,
    ),
    "mobilebert-small": ("mobilebert", "SequenceClassification", dict(
        COMMON, embedding_size=32, intra_bottleneck_size=32, true_hidden_size=32,
    ), text),
    "squeezebert-small": ("squeezebert", "SequenceClassification", dict(COMMON, embedding_size=64), text),
    "funnel-small": ("funnel", "SequenceClassification", dict(
        vocab_size=TOKENS, d_model=64, n_head=4, d_head=16, d_inner=128, block_sizes=[1, 1],
    ), text),
    "gpt_neo-small": ("gpt_neo", "CausalLM", dict(
        vocab_size=TOKENS, hidden_size=64, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]],
        use_cache=False,
    ), text),
    "xlnet-small": ("xlnet", "SequenceClassification", dict(
        COMMON, d_model=64, n_layer=2, n_head=4, d_inner=128,
    ), text),
    "canine-small": ("canine", "SequenceClassification", COMMON, text),
    # Decoders of text
    **{f"{kind}-small": (kind, "CausalLM", GROUPED, text) for kind in (
        "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi", "phi3", "gpt_neox", "olmo",
        "olmo2", "starcoder2", "stablelm", "cohere", "granite", "glm", "nemotron", "diffllama", "helium", "smollm3",
        "persimmon", "bitnet", "biogpt", "ministral",
    )},
    "gpt2-small": ("gpt2", "CausalLM", dict(COMMON, n_embd=64, n_layer=2, n_head=4), text),
    "gptj-small": ("gptj", "CausalLM", dict(COMMON, n_embd=64, n_layer=2, n_head=4, rotary_dim=8), text),
    "codegen-small": ("codegen", "CausalLM", dict(COMMON, n_embd=64, n_layer=2, n_head=4, rotary_dim=8), text),
    "bloom-small": ("bloom", "CausalLM", dict(COMMON, n_layer=2, n_head=4), text),
    "falcon-small": ("falcon", "CausalLM", COMMON, text),
    "mpt-small": ("mpt", "CausalLM", dict(COMMON, d_model=64, n_layers=2, n_heads=4), text),
    "opt-small": ("opt", "CausalLM", dict(COMMON, ffn_dim=128, word_embed_proj_dim=64), text),
    "xglm-small": ("xglm", "CausalLM", dict(COMMON, d_model=64, num_layers=2, attention_heads=4, ffn_dim=128), text),
    "mixtral-small": ("mixtral", "CausalLM", dict(EXPERTS, num_local_experts=4), text),
    "qwen2_moe-small": ("qwen2_moe", "CausalLM", dict(EXPERTS, shared_expert_intermediate_size=64), text),
    "qwen3_moe-small": ("qwen3_moe", "CausalLM", EXPERTS, text),
    "olmoe-small": ("olmoe", "CausalLM", EXPERTS, text),
    "gpt_oss-small": ("gpt_oss", "CausalLM", dict(EXPERTS, num_local_experts=4), text),
    "phimoe-small": ("phimoe", "CausalLM", dict(EXPERTS, num_local_experts=4), text),
    "mamba-small": ("mamba", "CausalLM", dict(COMMON, state_size=8), text),
    "mamba2-small": ("mamba2", "CausalLM", dict(COMMON, state_size=8, num_heads=8, head_dim=16, n_groups=1), text),
    "rwkv-small": ("rwkv", "CausalLM", dict(COMMON, attention_hidden_size=64, context_length=32), text),
    "recurrent_gemma-small": ("recurrent_gemma", "CausalLM", dict(GROUPED, lru_width=64, num_hidden_layers=3), text),
    # Encoders with decoders of text
    **{f"{kind}-small": (kind, "Seq2SeqLM", ENCODER_DECODER, pairs) for kind in (
        "bart", "mbart", "pegasus", "marian", "blenderbot", "m2m_100", "plbart",
    )},
    "t5-small-test": ("t5", "Seq2SeqLM", T5, pairs),
    "mt5-small-test": ("mt5", "Seq2SeqLM", dict(T5, feed_forward_proj="gated-gelu"), pairs),
    "longt5-small": ("longt5", "Seq2SeqLM", T5, pairs),
    "switch-small": ("switch_transformers", "Seq2SeqLM", dict(
        T5, num_experts=4, num_sparse_encoder_layers=1, num_sparse_decoder_layers=1,
    ), pairs),
    # Images
    **{f"{kind}-small": (kind, "ImageClassification", VISION, pixels) for kind in (
        "vit", "dinov2", "beit", "data2vec-vision", "dinov2_with_registers", "ijepa",
    )},
    "segformer-small": ("segformer", "SemanticSegmentation", dict(
        hidden_sizes=[16, 16, 32, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=32,
    ), partial(pixels, side=64)),
    "segformer-b0": ("segformer", "SemanticSegmentation", {}, partial(pixels, side=128)),
    "upernet-none-swin-small": ("swin", "ImageClassification", dict(
        image_size=64, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4,
    ), pixels),
    "cvt-small": ("cvt", "ImageClassification", {}, partial(pixels, side=64)),
    "poolformer-hf": ("poolformer", "ImageClassification", {}, partial(pixels, side=64)),
    "mobilevit-hf": ("mobilevit", "ImageClassification", {}, partial(pixels, side=128)),
    "convnext-hf": ("convnext", "ImageClassification", dict(
        hidden_sizes=[16, 32, 64, 64], depths=[1, 1, 1, 1],
    ), partial(pixels, side=64)),
    "bit-hf": ("bit", "ImageClassification", dict(
        hidden_sizes=[32, 64, 64, 64], depths=[1, 1, 1, 1], embedding_size=32, num_groups=4,
    ), partial(pixels, side=64)),
    "detr-small": ("detr", "ObjectDetection", dict(ENCODER_DECODER, num_queries=6), partial(pixels, side=64)),
    "yolos-small": ("yolos", "ObjectDetection", dict(VISION, image_size=[64, 64]), partial(pixels, side=64)),
    "dpt-small": ("dpt", "DepthEstimation", dict(
        VISION, num_hidden_layers=4, backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[16, 16, 32, 32], fusion_hidden_size=16,
    ), pixels),
    "glpn-small": ("glpn", "DepthEstimation", dict(
        hidden_sizes=[16, 16, 32, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2],
    ), partial(pixels, side=64)),
    # Sound, series, and several kinds at once
    **{f"{kind}-small": (kind, "CTC", dict(
        COMMON, conv_dim=[32, 32, 32], conv_kernel=[10, 8, 4], conv_stride=[5, 4, 4], num_feat_extract_layers=3,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
    ), waves) for kind in ("wav2vec2", "hubert", "sew", "unispeech", "wavlm")},
    "whisper-small-test": ("whisper", "SpeechSeq2Seq", dict(
        ENCODER_DECODER, num_mel_bins=16, max_source_positions=32, max_target_positions=32,
    ), spectrogram),
    "ast-small": ("audio-spectrogram-transformer", "AudioClassification", dict(
        VISION, max_length=64, num_mel_bins=32,
    ), heard),
    "patchtst-small": ("patchtst", "", dict(
        d_model=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=64, context_length=32, patch_length=8,
        patch_stride=8, num_input_channels=2,
    ), series),
    "patchtsmixer-small": ("patchtsmixer", "", dict(d_model=16, num_layers=2, context_length=32, num_input_channels=2),
                           series),
    "clip-small": ("clip", "", dict(
        text_config=dict(COMMON, max_position_embeddings=32), vision_config=VISION, projection_dim=32,
    ), picture_and_text),
    "siglip-small": ("siglip", "", dict(text_config=dict(COMMON, max_position_embeddings=32), vision_config=VISION),
                     picture_and_text),
    # At the size in use
    "bert-base": ("bert", "SequenceClassification", {}, text),
    "roberta-base": ("roberta", "SequenceClassification", {}, text),
    "distilbert-base": ("distilbert", "SequenceClassification", {}, text),
    "electra-base": ("electra", "SequenceClassification", dict(hidden_size=768, num_attention_heads=12,
                                                               intermediate_size=3072), text),
    "deberta-v3-base": ("deberta-v2", "SequenceClassification", dict(
        hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, vocab_size=30000,
        relative_attention=True, position_buckets=256, pos_att_type=["p2c", "c2p"], share_att_key=True,
        norm_rel_ebd="layer_norm",
    ), text),
    "convbert-base": ("convbert", "SequenceClassification", {}, text),
    "gpt2-124M": ("gpt2", "CausalLM", dict(use_cache=False), text),
    "opt-125M": ("opt", "CausalLM", dict(use_cache=False), text),
    "llama-180M": ("llama", "CausalLM", dict(
        vocab_size=32000, hidden_size=768, num_hidden_layers=16, num_attention_heads=12, intermediate_size=2048,
        use_cache=False,
    ), text),
    "qwen3-150M": ("qwen3", "CausalLM", dict(
        vocab_size=32000, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, num_key_value_heads=4,
        head_dim=64, intermediate_size=2048, use_cache=False,
    ), text),
    "mixtral-150M": ("mixtral", "CausalLM", dict(
        vocab_size=16000, hidden_size=512, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=4,
        intermediate_size=1024, num_local_experts=8, use_cache=False,
    ), text),
    "mamba-130M": ("mamba", "CausalLM", dict(hidden_size=768, num_hidden_layers=24, use_cache=False), text),
    "t5-small": ("t5", "Seq2SeqLM", dict(use_cache=False), pairs),
    "bart-base": ("bart", "Seq2SeqLM", dict(
        d_model=768, encoder_layers=6, decoder_layers=6, encoder_ffn_dim=3072, decoder_ffn_dim=3072,
        encoder_attention_heads=12, decoder_attention_heads=12, use_cache=False,
    ), pairs),
    "vit-base": ("vit", "ImageClassification", {}, pixels),
    "wav2vec2-base": ("wav2vec2", "CTC", {}, waves),
}  # fmt: skip


def transformer(kind: str, task: str, settings: dict[str, Any], inputs: Callable) -> Built:
    """A model of transformers with a head for a task, or bare."""
    import transformers

    config = transformers.AutoConfig.for_model(kind, **settings)
    net = getattr(transformers, f"AutoModelFor{task}" if task else "AutoModel").from_config(config)
    return net, inputs(net, config)


def unet() -> Built:
    """The U-Net of a latent diffusion model that text guides, small."""
    from diffusers import UNet2DConditionModel

    net = UNet2DConditionModel(
        sample_size=16, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=32, norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
    )  # fmt: skip
    return net, _noisy(torch.randn(BATCH, 4, 16, 16), encoder_hidden_states=torch.randn(BATCH, 5, 32))


def plain_unet() -> Built:
    """The U-Net of an unconditional diffusion model, small."""
    from diffusers import UNet2DModel

    net = UNet2DModel(
        sample_size=16, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    return net, _noisy(torch.randn(BATCH, 3, 16, 16))


def dit() -> Built:
    """A diffusion transformer, small."""
    from diffusers import DiTTransformer2DModel

    net = DiTTransformer2DModel(num_attention_heads=4, attention_head_dim=16, num_layers=2, sample_size=8,
                                norm_num_groups=8, num_embeds_ada_norm=10)  # fmt: skip
    given = {"hidden_states": torch.randn(BATCH, 4, 8, 8), "timestep": torch.tensor([3, 7])}
    return net, {**given, "class_labels": torch.tensor([1, 2])}


def autoencoder() -> Built:
    """A variational autoencoder of images, small."""
    from diffusers import AutoencoderKL

    net = AutoencoderKL(block_out_channels=(16, 32), down_block_types=("DownEncoderBlock2D",) * 2, norm_num_groups=8,
                        up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1)  # fmt: skip
    return net, torch.randn(BATCH, 3, 32, 32)


def _noisy(sample: torch.Tensor, **more: Any) -> Any:
    return {"sample": sample, "timestep": torch.tensor([3, 7]), **more}


def adapted(kind: str, modules: list[str], *, train_all: bool = False) -> Built:
    """A model of transformers with low-rank adapters; the network itself is frozen unless `train_all`."""
    from peft import LoraConfig, get_peft_model

    net, inputs = transformer(*TRANSFORMERS[kind])
    wrapped = get_peft_model(net, LoraConfig(r=4, target_modules=modules))
    if train_all:
        wrapped.requires_grad_(True)
    return wrapped, inputs


def of_torch(name: str) -> Built:
    """Torch's own: its Transformer and recurrent networks."""
    d, batch = 32, torch.randn(BATCH, 10, 32)
    if name == "Transformer":
        return nn.Transformer(d, 4, 2, 2, 64, batch_first=True), (batch, torch.randn(BATCH, 7, d))
    if name == "TransformerEncoder":
        return nn.TransformerEncoder(nn.TransformerEncoderLayer(d, 4, 64, batch_first=True), 2), batch
    if name == "TransformerEncoder, norm first":
        layer = nn.TransformerEncoderLayer(d, 4, 64, batch_first=True, norm_first=True, activation="gelu")
        return nn.TransformerEncoder(layer, 2), batch
    recurrent = getattr(nn, name)(d, 48, num_layers=2, batch_first=True)
    return nn.Sequential(nn.Linear(d, d), nn.ReLU(), recurrent), batch


NETWORKS: dict[str, Callable[[], Built]] = {
    **{f"timm {name}": partial(timm, name) for name in TIMM},
    **{f"transformers {name}": partial(transformer, *made) for name, made in TRANSFORMERS.items()},
    "diffusers U-Net with text": unet,
    "diffusers U-Net": plain_unet,
    "diffusers DiT": dit,
    "diffusers autoencoder": autoencoder,
    "peft LoRA in BERT": partial(adapted, "bert-small", ["query", "value"]),
    "peft LoRA in LLaMA": partial(adapted, "llama-small", ["q_proj", "v_proj", "up_proj"]),
    "peft LoRA in GPT-2, all trained": partial(adapted, "gpt2-small", ["c_attn"], train_all=True),
    **{
        f"torch {name}": partial(of_torch, name)
        for name in ("Transformer", "TransformerEncoder", "TransformerEncoder, norm first", "LSTM", "GRU", "RNN")
    },
}
