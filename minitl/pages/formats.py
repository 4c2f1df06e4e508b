"""Numbers and texts as people read them. What was not measured is a dash."""

import json
import math
import re
from pathlib import Path
from typing import Any

MISSING = "–"
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # not allowed in HTML


def printable(value: object) -> str:
    """The text of `value`, with the replacement character for what no page, plot or UTF-8 file can carry."""
    return _UNPRINTABLE.sub("\ufffd", str(value))


def model_name(source: str) -> str:
    """What to call the model at `source`: a folder's or a hub id's last part, but of what `minitl train` wrote, whose
    model lies in OUT/model, OUT's. Where it lies is nobody's business."""
    path = Path(source)
    return path.parent.name if path.name == "model" and path.parent.name else path.name


def percent(share: float) -> str:
    """A share in 0..1: "91.2%"."""
    return f"{share * 100:.1f}%" if math.isfinite(share) else MISSING


def points(difference: float) -> str:
    """A difference of two shares, in percentage points with its sign: "+3.1 points"."""
    if not math.isfinite(difference):
        return MISSING
    value = round(difference * 100, 1)
    return f"{value:+.1f} points".replace("-", "−") if value else "0.0 points"


def with_spread(mean: float, spread: float) -> str:
    """A share and its standard deviation, both in percent: "91.2 ± 0.6"; without a spread "91.2"."""
    if not math.isfinite(mean):
        return MISSING
    return f"{mean * 100:.1f} ± {spread * 100:.1f}" if math.isfinite(spread) else f"{mean * 100:.1f}"


def with_noise(difference: float, noise: float) -> str:
    """A difference of two shares and its noise, both in points: "+3.1 points (noise ±1.2)"."""
    return f"{points(difference)} (noise ±{noise * 100:.1f})"


def duration(seconds: float) -> str:
    """Seconds, or minutes and hours when there are many: "41.2 s", "3 min 30 s", "2 h 05 min"."""
    if not math.isfinite(seconds):
        return MISSING
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def megabytes(size: float) -> str:
    """Bytes in MB (10^6 bytes), in kB below one: "91 MB", "1.2 MB", "50 kB", "4.0 kB"."""
    if not math.isfinite(size):
        return MISSING
    value, unit = (size / 1e6, "MB") if size >= 1e6 else (size / 1e3, "kB")
    return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"


def rate(value: float) -> str:
    """A learning rate: "1e-4", "2.5e-5"."""
    if not math.isfinite(value):
        return MISSING
    digits, _, exponent = f"{value:.2e}".partition("e")
    return f"{float(digits):g}e{int(exponent)}"


def share_trained(value: float) -> str:
    """Trainable parameters in percent of all: "100%", "1.36%", "0.0034%"."""
    if not math.isfinite(value):
        return MISSING
    return f"{value:.3g}%" if value >= 1 else f"{value:.2g}%"


def plural(count: int, noun: str) -> str:
    """ "1 seed", "3 seeds"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def when(created: str) -> str:
    """ISO 8601 to the minute; UTC is spelled out."""
    return f"{created[:16].replace('T', ' ')} UTC" if created.endswith(("Z", "+00:00")) else created


def plain(setting: Any) -> str:
    """A setting's value as people write it."""
    if isinstance(setting, list | tuple) and all(isinstance(item, str | int | float) for item in setting):
        return ", ".join(str(item) for item in setting)
    if isinstance(setting, dict | list | tuple):
        return json.dumps(setting, ensure_ascii=False)
    if isinstance(setting, bool):
        return "yes" if setting else "no"
    if isinstance(setting, int):
        return f"{setting:,}"
    return MISSING if setting is None else str(setting)
