"""`rhoray predict`: predictions for files on this machine, made here or by a running endpoint."""

import argparse
import csv
import importlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

from rhoray.client import TOKEN_VARIABLE, Client, Prediction, Refused
from rhoray.command.terminal import bold, paint
from rhoray.inference.prediction import UNKNOWN, columns_of, property_lines, table_columns
from rhoray.pipeline.progress import progress_bar
from rhoray.sources.items import material_ids

Answer = Prediction | Refused
Answers = Iterator[tuple[Path, Answer]]
LOCAL = "rhoray.command.local"


def run(args: argparse.Namespace) -> int:
    """Predict the files; 1 where none of them could be used."""
    start, failed, out = perf_counter(), 0, args.out
    with ExitStack() as stack:
        targets, answers = _ask(args, stack)
        bar = stack.enter_context(progress_bar(len(args.file), "predict", "files", hidden=out is None))
        table = out and _write_table(answers, args.file, out, targets)
        for failed in table or _print(answers, as_json=args.json):
            bar.set_postfix(failed=failed, refresh=False)
            bar.update()
    if out is not None:
        seconds = round(perf_counter() - start, 2)
        summary = {"rows": len(args.file), "failed": failed, "seconds": seconds, "out": str(out)}
        sys.stdout.write(json.dumps(summary) + "\n")
    return int(failed == len(args.file))


def _ask(args: argparse.Namespace, stack: ExitStack) -> tuple[list[str], Answers]:
    """Return the model's targets, and an answer for each file as it comes."""
    if args.url is None or args.bundle is not None:
        model = importlib.import_module(LOCAL).LocalModel(args.bundle or "pretrained:")  # heavy, so only where needed
        return model.targets, model.predict_many(args.file)
    token = os.environ.get(TOKEN_VARIABLE)
    client = stack.enter_context(Client(args.url, token=token, patience_s=args.patience))
    targets = [target["target"] for target in client.model()["targets"]]
    return targets, client.predict_many(args.file, at_once=args.at_once)


def _write_table(answers: Answers, paths: Sequence[Path], out: Path, targets: Sequence[str]) -> Iterator[int]:
    """Write a row for each answer as it comes; yield how many files were refused so far."""
    ids, failed = material_ids([str(path) for path in paths]), 0
    with out.open("w", newline="") as file:
        table = csv.DictWriter(file, table_columns(targets))
        table.writeheader()
        for material_id, (path, answer) in zip(ids, answers, strict=True):
            failed += isinstance(answer, Refused)
            table.writerow(_row(material_id, path, answer))
            file.flush()  # what was answered stays, whatever comes
            yield failed


def _print(answers: Answers, *, as_json: bool) -> Iterator[int]:
    """Print each answer as it comes; yield how many files were refused so far."""
    failed = 0
    for path, answer in answers:
        failed += isinstance(answer, Refused)
        sys.stdout.write(json.dumps(_document(path, answer)) + "\n" if as_json else _text(path, answer))
        yield failed


def _row(material_id: str, path: Path, answer: Answer) -> dict[str, Any]:
    """Return the columns that the job `predict` writes, too."""
    row: dict[str, Any] = {"material_id": material_id, "source": str(path)}
    if isinstance(answer, Refused):
        return row | {"in_domain": False, "reason": str(answer)}
    return row | columns_of(answer, answer.material, answer.model, answer.version)


def _document(path: Path, answer: Answer) -> dict[str, Any]:
    """Return what the endpoint answers, with the file's name."""
    if isinstance(answer, Refused):
        return {"file": str(path), "problem": {"code": answer.name, "detail": str(answer)}}
    return {
        "file": str(path),
        "material": asdict(answer.material),
        "predictions": [asdict(p) for p in answer.properties],
        "in_domain": answer.in_domain,
        "reasons": list(answer.reasons),
        "model": {"name": answer.model, "version": answer.version},
        "seconds": answer.seconds,
    }


def _text(path: Path, answer: Answer) -> str:
    if isinstance(answer, Refused):
        return f"{path}: {paint(str(answer), 'red')}\n"
    material = answer.material
    kind = "" if material.density_kind == "dft" else ", free atoms superposed"
    atoms = "1 atom" if material.n_atoms == 1 else f"{material.n_atoms} atoms"
    facts = f"{atoms}, {material.n_electrons:.2f} valence electrons{kind}"
    table = "".join(f"  {line}\n" for line in property_lines(answer.properties))
    known = paint("known to the model", "green")
    if not answer.in_domain:
        known = paint(f"{UNKNOWN}: {'; '.join(answer.reasons)}", "yellow")
    return f"{path}: {bold(material.formula)}, {facts}\n{table}  {known} ({answer.model} {answer.version})\n"
