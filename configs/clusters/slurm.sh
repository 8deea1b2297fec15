#!/bin/bash
# sbatch configs/clusters/slurm.sh    (from the project's folder, on a file system that all machines see)
#SBATCH --job-name=dialect
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# Five minutes before the time is over, and where it is preempted, each process is told: it saves its state then.
#SBATCH --signal=USR1@300

set -u
RUN=runs/dialect-$SLURM_JOB_ID
if [ -e "$RUN/checkpoints/last.state" ]; then
  WHAT=(resume="$RUN")
else
  WHAT=(run="$RUN" experiment=dialect model.name=runs/window/checkpoints/last.pt
    "data.train=[dialect.jsonl,heard.jsonl]" "data.weights=[4,1]" data.dev=dev.jsonl data.workers=6
    trainer=ddp trainer.devices=4 trainer.nodes=2)
fi

# One process per GPU; where one is gone, srun ends the others two minutes later: time to end by themselves, and with 75.
srun --kill-on-bad-exit=0 --wait=120 python scripts/train.py "${WHAT[@]}"
CODE=$?
# 75: stopped and saved. The job keeps its number, so it finds its run again.
if [ $CODE -eq 75 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $CODE
