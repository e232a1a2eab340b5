"""python atelier.py train: draw the pictures and train the demo models, up to demo_models/*.safetensors.

An interrupted stage continues from its last checkpoint. `--only together` continues the training of the UNet and both
adapters from the files in the folder. All random numbers are seeded. Sums of floats depend on the machine and its
threads, so models trained elsewhere differ a little.
"""

import argparse
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]


def main() -> None:
    import conftest  # noqa: F401  # ComfyUI on the path

    from .plot import draw, keep
    from .references import write_references
    from .stages import STAGES, Workshop
    from .texts import EACH, write_texts

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "demo_models", help="folder for the models")
    parser.add_argument("--only", nargs="+", choices=list(STAGES), default=list(STAGES), help="some stages only")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the pictures and steps: 0.01 to try it out")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--checkpoints", type=Path, default=ROOT / ".cache" / "training",
        help="folder of checkpoints, from which an interrupted stage continues",
    )  # fmt: skip
    options = parser.parse_args()
    from comfy.cli_args import args

    args.cpu = options.device == "cpu"  # before anything imports comfy.model_management
    torch.set_num_threads(options.threads)
    shop = Workshop(options.output, options.scale, options.device, options.checkpoints)
    options.output.mkdir(parents=True, exist_ok=True)
    curves = {}
    for name in options.only:
        curves = keep(STAGES[name](shop), options.output / "training.json")
        shop.forget(name)
    draw(curves, options.output / "training.png")
    write_references(options.output / "references")
    write_texts(options.output, max(8, round(EACH * options.scale)))


if __name__ == "__main__":
    main()
