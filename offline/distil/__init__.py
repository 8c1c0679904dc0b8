"""Tag knowledge distillation: SFT, preference pairs, DPO, and what the models say (paper section 3.3)."""
