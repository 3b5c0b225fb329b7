#!/bin/bash
# A search on TSUBAME4 (Altair Grid Engine), with a GPU for each worker. Change what the comments name, then submit it
# with your group: qsub -g GROUP age.sh
#
# If the time limit ends it, submit it again: the search goes on. Nothing is lost.
#
# nodes, each with 4 GPUs: one for 4 workers
#$ -l node_f={{nodes}}
# change: time limit, at most 24 hours
#$ -l h_rt=24:00:00
#$ -N evomerge
#$ -cwd
#$ -j y

exec >>{{output}}.log 2>&1

# change: load what the program needs; the workers get this PATH and LD_LIBRARY_PATH
# module load cuda

# change: for two workers on a GPU, per_node=8 threads=23. Threads: a node has 192 cores; the search needs one of them.
export gpus=4 per_node=4 threads=47
nodes=$(cut -d" " -f1 "${PE_HOSTFILE:-/dev/null}" | sort -u | xargs)
export nodes=${nodes:-$(hostname)}
{{over_ssh}}