"""Continual backpropagation under Hugging Face's Trainer; needs `pip install "transformers[torch]"`.

A tiny BERT is made from its configuration (nothing is fetched) and learns whether a sequence has more 1s than 2s.

python examples/hugging_face_trainer.py             # trains and leaves the Trainer's checkpoints
python examples/hugging_face_trainer.py --resume    # goes on from the last, with the same result as without the stop
"""

import sys

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import neoteny


def sequences(count):
    """Made-up data: tokens, and whether 1 occurs more often in them than 2."""
    tokens = torch.randint(1, 10, (count, 16), generator=torch.Generator().manual_seed(1))
    labels = ((tokens == 1).sum(1) > (tokens == 2).sum(1)).long()
    return [{"input_ids": row, "labels": label} for row, label in zip(tokens, labels, strict=True)]


def main(steps=200, folder="runs/hugging_face_trainer", resume=False, **options):
    """Train up to `steps`; returns the model and what neoteny attached to it."""
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(vocab_size=10, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    )
    data = sequences(1000)

    # [attach]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            folder,
            max_steps=steps,
            save_steps=100,
            lr_scheduler_type="constant",  # continual training has no end to decay to
            report_to="none",
            use_cpu=True,
            **options,
        ),
        train_dataset=data,
        optimizers=(optimizer, None),
    )
    cbp = neoteny.ContinualBackprop(replacement_rate=1e-3, maturity_threshold=50)
    inputs = {"input_ids": data[0]["input_ids"].unsqueeze(0).to(model.device)}
    plasticity = neoteny.attach(model, optimizer, cbp, example_inputs=inputs)
    trainer.train(resume_from_checkpoint=resume)
    # [attached]
    print(plasticity.counters())
    return model, plasticity


if __name__ == "__main__":
    resume = "--resume" in sys.argv
    main(steps=400 if resume else 200, resume=resume)
