"""Models of `transformers`, from small configurations; no weights are fetched."""

from __future__ import annotations

from functools import partial

from architectures.architecture import TOKENS, Architecture
from architectures.attention import tokens
from architectures.convolutions import images


def bert(width, length, attention):
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(BertConfig(
        vocab_size=TOKENS, hidden_size=width, num_hidden_layers=2, num_attention_heads=2, intermediate_size=2 * width,
        max_position_embeddings=length, num_labels=3, attn_implementation=attention,
    ))  # fmt: skip


def gpt2(width, length, attention):
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(
        vocab_size=TOKENS, n_embd=width, n_layer=2, n_head=2, n_positions=length, use_cache=False,
        bos_token_id=0, eos_token_id=0, attn_implementation=attention,
    ))  # fmt: skip


def llama(width, length, attention):
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(
        vocab_size=TOKENS, hidden_size=width, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=2 * width, max_position_embeddings=length, use_cache=False, bos_token_id=0, eos_token_id=0,
        attn_implementation=attention,
    ))  # fmt: skip


def vit(width, side, attention):
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(ViTConfig(
        image_size=side, patch_size=4, hidden_size=width, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=2 * width, num_labels=3, attn_implementation=attention,
    ))  # fmt: skip


def named(name):
    return lambda batch, length: {name: (images if name == "pixel_values" else tokens)(batch, length)}


def family(title, build, name, tiny, wide, batch, **expected):
    """The same model with either implementation of attention."""
    return {
        f"{title}, {attention}": Architecture(
            partial(build, attention=attention), named(name), tiny, wide, batch, needs="transformers", **expected
        )
        for attention in ("eager", "sdpa")
    }


def in_layers(prefix, **sizes):
    """Layers of both blocks, by their name there."""
    return {f"{prefix}.{i}.{name.replace('__', '.')}": size for i in range(2) for name, size in sizes.items()}


def stream(first, prefix, *parts):
    """The name of the residual stream: all that is added up, in order."""
    return "+".join([*first, *(f"{prefix}.{i}.{part}" for i in range(2) for part in parts)])


HUGGING_FACE = {
    **family(
        "BERT", bert, "input_ids", (4, 6), (128, 64), 8,
        units={
            **in_layers("bert.encoder.layer", attention__self__value=4, intermediate__dense=8), "bert.pooler.dense": 4,
        },
        left_out={"bert.embeddings.word_embeddings": "padding", "bert.embeddings.position_embeddings": "padding"},
    ),
    **family(
        "GPT-2", gpt2, "input_ids", (4, 6), (128, 64), 8,
        units=in_layers("transformer.h", attn__c_attn=4, mlp__c_fc=16),
        left_out={"transformer.wte": "shares", "transformer.wpe": "wte", "transformer.h.0.mlp.c_proj": "wte"},
    ),
    **family(
        "LLaMA", llama, "input_ids", (8, 6), (128, 64), 8,
        units={name: size for i in range(2) for name, size in (
            (f"model.layers.{i}.self_attn.v_proj", 4),
            (f"model.layers.{i}.mlp.gate_proj+model.layers.{i}.mlp.up_proj", 16),
        )},
        stream={stream(["model.embed_tokens"], "model.layers", "self_attn.o_proj", "mlp.down_proj"): 8},
    ),
    **family(
        "ViT of transformers", vit, "pixel_values", (4, 8), (128, 32), 8,
        units=in_layers("vit.layers", attention__v_proj=4, mlp__fc1=8),
        bare=("vit.embeddings.cls_token", "vit.embeddings.position_embeddings"),
        stream={stream(["vit.embeddings.patch_embeddings.projection"], "vit.layers", "attention.o_proj", "mlp.fc2"): 4},
    ),
}  # fmt: skip
