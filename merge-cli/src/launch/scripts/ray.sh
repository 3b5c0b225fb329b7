#!/bin/bash
# A search on a running Ray cluster, with a GPU for each worker. Change what the comments name, then: bash ray.sh
#
# It hands itself in as a job, which Ray runs on the head node: this script, the program and the models must be at the
# same paths on all nodes. If the job or the cluster ends too early, run it again: the search goes on. Nothing is lost.
# `ray job stop` stops it. Without Ray's dashboard, run it on the head node: bash ray.sh job
cd "$(dirname "$0")" || exit

# change: where the dashboard is, unless this is the head node. On KubeRay, after
# kubectl port-forward service/CLUSTER-head-svc 8265, it is at http://127.0.0.1:8265.
# export RAY_API_SERVER_ADDRESS=http://HEAD:8265

# change: cores of a worker. Ray counts them, and RAYON_NUM_THREADS makes workers keep to them.
cores=8
[ "${1-}" = job ] || exec ray job submit --no-wait \
  --runtime-env-json "{\"env_vars\": {\"RAYON_NUM_THREADS\": \"$cores\"}}" -- bash "$PWD/${0##*/}" job

exec >>{{output}}.log 2>&1

# change: python3 to a Python that has Ray; 'GPU: 0.5' for two workers on a GPU; no 'GPU' for workers without one.
# change: to score on vLLM, add --engine 'vllm: vllm serve {model} --port {port}' to the search.
exec {{program}} search {{file}} -o {{output}} --workers {{workers}} --ray auto --python python3 \
  --per-worker "GPU: 1, CPU: $cores"
