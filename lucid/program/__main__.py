"""Describe an exported program: `python -m lucid.program net.pt2`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import sys

import lucid
from lucid.program.loading import load_program
from lucid.program.program import Program


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lucid.program",
        description="Describe a program that torch.export.save wrote.",
    )
    parser.add_argument("path", help="the .pt2 file")
    parser.add_argument(
        "--size",
        action="append",
        default=[],
        metavar="N,C,D,H,W",
        help="the shape of an input, once for each: also counts multiply-adds",
    )
    parser.add_argument("--npz", metavar="FILE", help="save the weights to this file")
    options = parser.parse_args(arguments)
    try:
        shapes = [tuple(map(int, size.split(","))) for size in options.size]
    except ValueError:
        parser.error("--size: numbers between commas, such as 1,1,64,64,64")
    try:
        program = load_program(options.path)
    except (OSError, lucid.CheckpointError) as error:
        print(error, file=sys.stderr)
        return 1
    print(_described(program))
    if shapes:
        try:
            print(f"\n{lucid.summary(program, *shapes)}")
        except (IndexError, TypeError, ValueError) as error:
            parser.error(f"--size: {error}")
    if options.npz:
        program.save_weights(options.npz)
        print(f"\nweights saved to {options.npz}")
    return 0


def _described(program: Program) -> str:
    parameters = program.named_parameters()
    count = sum(array.size for _, array in parameters)
    mode = {True: "training", False: "evaluation", None: "the graph does not say"}
    lines = [
        f"inputs      {', '.join(program.input_names())}",
        f"outputs     {program.output_count()}",
        f"mode        {mode[program.exported_in_training]}",
        f"parameters  {count:,} in {len(parameters)} arrays",
        f"buffers     {len(program.named_buffers())}",
        f"operations  {sum(program.operations().values())}",
    ]
    by_count = sorted(
        program.operations().items(), key=lambda item: (-item[1], item[0])
    )
    return "\n".join([*lines, *(f"  {n:6}  {target}" for target, n in by_count)])


if __name__ == "__main__":
    sys.exit(main())
