"""Minutes and memory for binding four spaces of 100,000 cached embeddings, on two cores."""

from __future__ import annotations

import argparse
import resource
import time

import torch
from torch.nn import functional as F

from mmfuse.binding import OmniBind, Pool, Retrieval, Training, bind

WIDTH, MEANING = 512, 64
#: Two spaces of images and text, one of sounds and text, one of shapes and text.
SPACES = {
    "see": ("image", "text"),
    "look": ("image", "text"),
    "hear": ("audio", "text"),
    "feel": ("shape", "text"),
}


def pools(items: int) -> dict[str, Pool]:
    """Unpaired items of each modality, as every space that has it turns what they mean."""
    source = torch.Generator().manual_seed(0)
    turns = {s: torch.randn(MEANING, WIDTH, generator=source) for s in SPACES}
    found = {}
    for m in ("image", "text", "audio", "shape"):
        meaning = torch.randn(items, MEANING, generator=source)
        vectors = {}
        for s, known in SPACES.items():
            if m in known:
                noise = torch.randn(items, WIDTH, generator=source)
                vectors[s] = F.normalize(
                    F.normalize(meaning @ turns[s], dim=1) + 0.02 * noise, dim=1
                )
        found[m] = Pool(m, vectors, trained=["see", "look"] if m == "text" else [])
    return found


def peak() -> float:
    """The most memory that this process has held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000, help="of each modality")
    parser.add_argument("--steps", type=int, default=400, help="of each stage, of 1024 tuples")
    parser.add_argument("--backend", default="exact", help="exact or faiss-ivf")
    given = parser.parse_args()
    torch.set_num_threads(2)
    made = pools(given.items)
    size = sum(x.numel() * 4 for p in made.values() for x in p.vectors.values()) / 2**30
    before, start = peak(), time.perf_counter()
    ends: dict[str, float] = {}

    def report(stage: str, done: int, total: int) -> None:
        ends[stage] = time.perf_counter()

    # Of the two spaces of images and text, the first is searched, as faiss takes one at a time.
    pairs = Retrieval(through={"image": {"text": ["see"]}}, backend=given.backend)
    method = OmniBind(pairs=pairs, training=Training(steps=given.steps))
    bound = bind(made, method, base="see", report=report)
    bind_took = time.perf_counter() - start
    print(
        f"{len(SPACES)} spaces of width {WIDTH}, {given.items:,} items of each of {len(made)} "
        f"modalities, {size:.2f} GiB of embeddings; {given.backend}, {given.steps} steps"
    )
    last = start
    for stage, end in ends.items():
        print(f"{stage:<18}{end - last:8.0f} s")
        last = end
    print(f"in all            {bind_took / 60:8.1f} min")
    print(f"peak memory {before:.2f} GiB before, {peak():.2f} GiB after")
    start = time.perf_counter()
    bound.embed_pool(made["text"])
    rate = given.items / (time.perf_counter() - start)
    print(f"embedding: {rate:,.0f} texts a second, each from four spaces")


if __name__ == "__main__":
    main()
