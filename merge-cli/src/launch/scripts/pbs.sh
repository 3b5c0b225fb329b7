#!/bin/bash
# A search on ABCI 3.0 (PBS Professional), with a GPU for each worker. Change what the comments name, then: qsub pbs.sh
#
# If the time limit stops it, submit it again: the search goes on. Nothing is lost.
#
# change: your ABCI group
#PBS -P GROUP
# whole nodes, each with 8 GPUs; in a reservation its queue, and below -v RTYPE=rt_HF,USE_SSH=1
#PBS -q rt_HF
# nodes, one for 8 workers
#PBS -l select={{nodes}}
# change: time limit, at most 168 hours
#PBS -l walltime=24:00:00
# for ssh from node to node
#PBS -v USE_SSH=1
#PBS -N evomerge
#PBS -j oe

cd "$PBS_O_WORKDIR" || exit
exec >>{{output}}.log 2>&1

# change: load what the program needs; the workers get this PATH and LD_LIBRARY_PATH
# source /etc/profile.d/modules.sh; module load cuda/12.6/12.6.1

# change: for two workers on a GPU, per_node=16 threads=5. Threads: a node has 96 cores; the search needs one of them.
export gpus=8 per_node=8 threads=11
nodes=$(sort -u "$PBS_NODEFILE" | xargs)
export nodes
{{over_ssh}}