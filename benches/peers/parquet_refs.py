"""Writes tests/data/parquet: small files of every type of column, and the documents that `datasets` makes of them.

    python3 benches/peers/parquet_refs.py        needs pyarrow
"""

import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

OUT = pathlib.Path(__file__).parents[2] / "tests/data/parquet"

ROWS = {
    "question": pa.array(["りんごは3個。", "", None], pa.string()),
    "large": pa.array(["a", "b", "c\n"], pa.large_string()),
    "same": pa.array(["x", None, "x"]).dictionary_encode(),
    "flag": pa.array([True, False, None]),
    "i8": pa.array([-128, 127, None], pa.int8()),
    "i16": pa.array([-32768, 32767, None], pa.int16()),
    "i32": pa.array([-(2**31), 2**31 - 1, None], pa.int32()),
    "i64": pa.array([-(2**63), 2**63 - 1, None], pa.int64()),
    "u8": pa.array([0, 255, None], pa.uint8()),
    "u16": pa.array([0, 65535, None], pa.uint16()),
    "u32": pa.array([0, 2**32 - 1, None], pa.uint32()),
    "u64": pa.array([0, 2**64 - 1, None], pa.uint64()),
    "f16": pa.array([0.5, -2.0, None], pa.float16()),
    "f32": pa.array([0.1, -1e30, None], pa.float32()),
    "f64": pa.array([0.1, 5e-324, None], pa.float64()),
    "choices": pa.array([["a", "b"], [], None], pa.list_(pa.string())),
    "lists": pa.array([[[1], [], None], [[2, None]], []], pa.list_(pa.list_(pa.int64()))),
    "fixed": pa.array([[1, 2], [3, 4], None], pa.list_(pa.int32(), 2)),
    "answers": pa.array(
        [{"text": ["東京"], "answer_start": [3]}, {"text": [], "answer_start": []}, None],
        pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))]),
    ),
    "messages": pa.array(
        [[{"role": "user", "content": None}], [{"role": "a", "content": "b"}, None], []],
        pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
    ),
    "nothing": pa.array([None, None, None], pa.null()),
}


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    table = pa.table(ROWS)
    (OUT / "types.json").write_text(json.dumps(table.to_pylist(), ensure_ascii=False, indent=1) + "\n")
    pq.write_table(table, OUT / "types.parquet", row_group_size=2)
    plain = table.select(["question", "i64", "choices"])
    for how in ["none", "gzip", "lz4", "zstd", "brotli"]:
        pq.write_table(plain, OUT / f"{how}.parquet", compression=how)
    pq.write_table(plain, OUT / "pages.parquet", data_page_version="2.0", use_dictionary=False)
    other = pa.table({
        "question": pa.array(["q"]),
        "day": pa.array([19000], pa.date32()),
        "time": pa.array([1], pa.timestamp("us")),
        "nanos": pa.array([1], pa.timestamp("ns")),
        "clock": pa.array([1], pa.time64("us")),
        "image": pa.array([{"bytes": b"\xff", "path": None}]),
        "price": pa.array([1], pa.decimal128(9, 2)),
        "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        "nan": pa.array([float("nan")]),
    })
    pq.write_table(other, OUT / "other.parquet")


if __name__ == "__main__":
    main()
