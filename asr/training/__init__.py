"""Fine-tuning: the task, what is saved on the way, and the loop, which is lightning's."""
