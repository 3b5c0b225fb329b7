"""Makes tests/data/optimizers/integers_replay.json: runs of CatCMA with margin (cmaes 0.13.1) that have integers.

    pip install cmaes==0.13.1 numpy && python benches/peers/integers.py
"""

import json
from pathlib import Path

import numpy as np
from cmaes import CatCMAwM


def run(n_real, n_integer, levels, n_choice, options, generations, seed):
    rng = np.random.RandomState(seed)
    target = rng.rand(n_real + n_integer)
    n = n_real + n_integer
    mean, sigma = np.full(n, 0.45), 0.2
    start = {"mean": mean.tolist(), "sigma": sigma}
    spaces = {
        "x_space": [[0.0, 1.0]] * n_real,
        # The middles of equal intervals of [0, 1].
        "z_space": [[(k + 0.5) / levels for k in range(levels)]] * n_integer,
        "c_space": [options] * n_choice,
    }
    search = CatCMAwM(
        **{name: space for name, space in spaces.items() if space}, mean=mean, sigma=sigma, cov=np.eye(n), seed=seed
    )
    record = []
    for _ in range(generations):
        told = []
        for _ in range(search.population_size):
            solution = search.ask()
            point = np.concatenate([part for part in (solution.x, solution.z) if part is not None])
            loss = float(np.sum((point - target) ** 2 * 10.0 ** np.arange(n)))
            choices = [] if solution.c is None else solution.c.argmax(axis=1).tolist()
            # Reals and choices that depend on each other, and an optimum on the edge of the box.
            loss += float(sum((c != i % options) * (1 + abs(point[0])) for i, c in enumerate(choices)))
            loss += float(abs(point[n_real - 1])) if n_real else 0.0
            # Equals share their ranks with us and do not with cmaes.
            loss += 1e-3 * rng.rand()
            told.append((solution, loss))
        record.append({"told": [{"v": s._v_raw.tolist(), "c": [] if s.c is None else s.c.argmax(axis=1).tolist(), "f": f} for s, f in told]})
        search.tell(told)
        record[-1]["after"] = {
            "mean": search._mean.tolist(),
            "sigma": float(search._sigma),
            "C": search._C.tolist(),
            "A": search._A.tolist(),
            "mutation_rates": search._pmut.tolist(),
            "q": search._q.tolist() if n_choice else [],
        }
    kinds = {"reals": n_real, "integers": n_integer, "levels": levels, "choices": n_choice, "options": options}
    return {**kinds, **start, "lambda": search.population_size, "generations": record}


if __name__ == "__main__":
    runs = [run(2, 3, 5, 2, 3, 40, 1), run(3, 2, 2, 0, 2, 40, 2), run(0, 4, 7, 1, 2, 40, 3)]
    path = Path(__file__).parents[2] / "tests/data/optimizers/integers_replay.json"
    path.write_text(json.dumps(runs))
    for r in runs:
        print(r["lambda"], r["generations"][-1]["after"])
