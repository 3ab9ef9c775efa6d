"""Training on files of pairs: fine-tuning, the published models' own training, hard negatives."""
