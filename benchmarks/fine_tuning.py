"""One fine-tuning step, full and LoRA, float32 and bfloat16: `python -m benchmarks.fine_tuning`.

Arithmetic of a full step of MiniLM on 32 × 64 tokens: about 130 GFLOP; of a LoRA step, about 90.
"""

from benchmarks.protocol import Worker, compare, peers_python, save
from minitl.checkpoints.hub import bundled_checkpoint


def main() -> None:
    folder, rows = bundled_checkpoint(), []
    for method in ("full", "lora"):
        for precision in ("float32", "bfloat16"):
            arguments = (folder, method, precision)
            ours = Worker("benchmarks.workers.fine_tune", "minitl", *arguments)
            peer = Worker("benchmarks.workers.fine_tune", "peers", *arguments, python=peers_python())
            with ours, peer:
                case = f"{method}, {precision}" + (" autocast" if precision == "bfloat16" else "")
                name = "transformers" if method == "full" else "PEFT"
                rows.append(compare(case, {"minitl": ours, name: peer}, amount=32 * 64, unit="tokens"))
    print(save("fine_tuning", "Fine-tuning step, MiniLM, 32 × 64 tokens", rows))


if __name__ == "__main__":
    main()
