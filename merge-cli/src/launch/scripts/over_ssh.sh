workers=$(($(wc -w <<<"$nodes") * per_node))
[ "$workers" -lt {{workers}} ] && echo "$workers workers, not {{workers}}: ask for more nodes" || workers={{workers}}

# change: to score on vLLM, add --engine 'vllm: vllm serve {model} --port {port}' to the search.
exec {{program}} search {{file}} -o {{output}} --workers "$workers" --launch '
  node=$(echo $nodes | cut -d" " -f$(( ({n} - 1) / per_node + 1 )))
  far="ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new $node"
  [ "${node%%.*}" = "$(hostname -s)" ] && far=
  gpu=$(( ({n} - 1) % gpus ))
  exec $far env PATH=$PATH LD_LIBRARY_PATH=$LD_LIBRARY_PATH RAYON_NUM_THREADS=$threads CUDA_VISIBLE_DEVICES=$gpu'
