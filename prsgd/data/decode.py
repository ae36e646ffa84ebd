"""One image file becomes (size, size, 3) bytes, whatever its format holds."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

SIGNED = 2  # the value of TIFF's tag SampleFormat for signed integers
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
WHITE_IS_ZERO = 0  # a value of PHOTOMETRIC


def decode(content: bytes, size: int) -> np.ndarray:
    """The image in a file's content: upright, on white, cut to a square, (size, size, 3) uint8.

    Deep greys are scaled by the range of their numbers, floating-point ones from [0, 1]. Raises
    ValueError, or whatever Pillow raises, where there is no image to be had.
    """
    import numpy as np
    from PIL import Image, ImageOps

    with Image.open(BytesIO(content)) as image:
        image.draft("RGB", (size, size))
        upright = ImageOps.exif_transpose(image)
        return np.asarray(ImageOps.fit(_on_white(upright, image), (size, size)))


def _on_white(image: Image, file: Image) -> Image:
    """The image in RGB; `file` is the image as it was opened, with what its format says of it."""
    from PIL import Image, ImageCms

    if image.mode == "F" or image.mode.startswith("I"):
        return _eight_bits(image, file).convert("RGB")
    if image.mode == "LAB":
        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
        assert converted is not None
        return converted
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image, file: Image) -> Image:
    """A grey image of 16 or 32 bits as one of 8."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError("its floating-point values must be from 0 to 1")
        top = 1.0
    else:
        values, top = _range(values, file)
    grey = np.rint(values.clip(0, top) * (255 / top)).astype(np.uint8)
    if getattr(file, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:
        grey = 255 - grey
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255
    return Image.fromarray(grey)


def _range(values: np.ndarray, file: Image) -> tuple[np.ndarray, float]:
    """The integers of a deep grey image, and their largest possible value."""
    import numpy as np

    tags = getattr(file, "tag_v2", {})
    bits = tags.get(BITS_PER_SAMPLE, (16,))[0]
    if tags.get(SAMPLE_FORMAT, (1,))[0] == SIGNED:
        return values, float(2 ** (bits - 1) - 1)
    if bits == 32:  # Pillow keeps them in signed integers
        values = np.where(values < 0, values + 2**32, values)
    return values, float(2**bits - 1)
