"""Tiny random models of transformers, saved as the Hub has them."""

import torch
from transformers import AutoModelForCausalLM

SIZES = {
    "vocab_size": 29,
    "hidden_size": 18,
    "intermediate_size": 28,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": None,
}


def tiny(config, folder, **kwargs):
    """A random model of transformers with this config; kwargs are those of save_pretrained."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for x in model.parameters():
            x.add_(0.3 * torch.randn_like(x))  # norms that are not 1, biases that are not 0
    model.save_pretrained(folder, **kwargs)
    return model
