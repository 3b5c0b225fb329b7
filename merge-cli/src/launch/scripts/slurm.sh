#!/bin/bash
# A search on Slurm, with a GPU for each worker. Change what the comments name, then: sbatch slurm.sh
#
# Two minutes before the time limit the search stops, and the job queues itself again, until the search has ended.
# If it did not queue itself, submit it again: the search goes on. Nothing is lost.
#SBATCH --job-name=evomerge
##SBATCH --account=GROUP        # change: your group, if your cluster wants one; then delete the first #
##SBATCH --partition=GPUS       # change: a partition with GPUs, if the default has none; then delete the first #
#SBATCH --time=24:00:00         # change: at most the limit of the partition
#SBATCH --ntasks={{workers}}    # workers; a node takes as many as it has GPUs, cores and memory for
#SBATCH --gpus-per-task=1       # change: delete this line for workers without a GPU
#SBATCH --cpus-per-task=8       # change: cores of a worker
#SBATCH --mem-per-cpu=8G        # change: a worker has this times its cores; its models must fit
#SBATCH --requeue               # if a node fails, too
#SBATCH --signal=B:USR1@120
#SBATCH --open-mode=append --output={{output}}.log

# module load cuda              # change: what the program needs

export RAYON_NUM_THREADS=$SLURM_CPUS_PER_TASK
trap 'kill "$search"; wait "$search"; scontrol requeue "$SLURM_JOB_ID"' USR1

# The search waits most of the time: it shares the cores of a worker. A worker is a job step with cores and a GPU of its
# own (--exact). The memory is for all steps of a node together (--mem=0), or the first step would take it all.
# change: to score on vLLM, add --engine 'vllm: vllm serve {model} --port {port}' to the search.
{{program}} search {{file}} -o {{output}} --workers {{workers}} \
  --launch 'srun --nodes=1 --ntasks=1 --exact --mem=0 --cpus-per-task=$SLURM_CPUS_PER_TASK' &
search=$!
wait "$search"
