"""The annotation loop: what to annotate next, tasks for Label Studio, and its answers as a training manifest."""
