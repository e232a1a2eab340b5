"""Segment the parts of a face: facexlib's parser, a BiSeNet (arXiv:1808.00897) trained on CelebAMask-HQ.

Parameter names are those of the published file, parsing_bisenet.pth.
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ipadapter.errors import CheckpointError

CLASSES = 19
BACKGROUND = (0, 7, 8, 9, 14, 15, 16, 18)  # classes: background, ears, earrings, neck, necklace, clothes, hat
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
GREY = (0.299, 0.587, 0.114)
WIDTHS = (64, 128, 256, 512)  # of ResNet18's stages
INNER = 128  # width of the context path


class Unit(nn.Module):
    """Convolution, batch norm and ReLU: (n, into, h, w) -> (n, out, h, w)."""

    def __init__(self, into: int, out: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(into, out, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Residual(nn.Module):
    """Two convolutions beside a shortcut (ResNet's basic block); the first convolution may halve height and width."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        if into != out or stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        else:
            self.downsample = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.downsample(x) + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


def _stage(into: int, out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(Residual(into, out, stride), Residual(out, out, 1))


class ResNet18(nn.Module):
    """Pictures (n, 3, h, w) -> feature maps at 1/8, 1/16 and 1/32 of their height and width."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1, self.layer2 = _stage(WIDTHS[0], WIDTHS[0], 1), _stage(WIDTHS[0], WIDTHS[1], 2)
        self.layer3, self.layer4 = _stage(WIDTHS[1], WIDTHS[2], 2), _stage(WIDTHS[2], WIDTHS[3], 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        eighth = self.layer2(self.layer1(x))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class Refinement(nn.Module):
    """BiSeNet's attention refinement: multiplies every channel of a feature map by a weight from the map's mean."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.conv = Unit(into, out)
        self.conv_atten = nn.Conv2d(out, out, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * torch.sigmoid(self.bn_atten(self.conv_atten(_mean(x))))


class ContextPath(nn.Module):
    """Two feature maps at 1/8 of the picture's size: ResNet's own, and coarser layers resized, with global context."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResNet18()
        self.arm16, self.arm32 = Refinement(WIDTHS[2], INNER), Refinement(WIDTHS[3], INNER)
        self.conv_head16, self.conv_head32 = Unit(INNER, INNER), Unit(INNER, INNER)
        self.conv_avg = Unit(WIDTHS[3], INNER, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        eighth, sixteenth, least = self.resnet(x)
        up32 = self.conv_head32(_to_size(self.arm32(least) + self.conv_avg(_mean(least)), sixteenth))
        return eighth, self.conv_head16(_to_size(self.arm16(sixteenth) + up32, eighth))


class Fusion(nn.Module):
    """BiSeNet's fusion of fine and coarse feature maps: channels are weighted by their means over the picture."""

    def __init__(self) -> None:
        super().__init__()
        width = 2 * INNER
        self.convblk = Unit(width, width, 1)
        self.conv1 = nn.Conv2d(width, width // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(width // 4, width, 1, bias=False)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        x = self.convblk(torch.cat((fine, coarse), 1))
        return x + x * torch.sigmoid(self.conv2(F.relu(self.conv1(_mean(x)))))


class Output(nn.Module):
    """Scores of every class of parts, from a feature map: (n, into, h, w) -> (n, 19, h, w)."""

    def __init__(self, into: int, inner: int) -> None:
        super().__init__()
        self.conv = Unit(into, inner)
        self.conv_out = nn.Conv2d(inner, CLASSES, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.conv(x))


class FaceParser(nn.Module):
    """Pictures (n, 3, h, w), normalised by MEAN and STD -> scores of every class (n, 19, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.cp = ContextPath()
        self.ffm = Fusion()
        self.conv_out = Output(2 * INNER, 2 * INNER)
        self.conv_out16, self.conv_out32 = Output(INNER, 64), Output(INNER, 64)  # used in training only

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Any], name: str) -> "FaceParser":
        """A parser with the tensors of a file.

        Raises:
            CheckpointError: names or shapes of the tensors differ from facexlib's; the message has the file's `name`.
        """
        with torch.device("meta"):
            parser = cls()
        try:
            parser.load_state_dict(dict(tensors), strict=True, assign=True)
        except RuntimeError as error:
            raise CheckpointError(
                f"{name} is no face parser: expected the tensors of facexlib's parsing_bisenet.pth. Get it from "
                f"facexlib's release v0.2.0 on GitHub. ({error!s:.200})"
            ) from error
        return parser.train(False).requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        scores = self.conv_out(self.ffm(*self.cp(pixels)))
        return F.interpolate(scores, pixels.shape[-2:], mode="bilinear", align_corners=True)


def faces_and_hair(parser: FaceParser, crops: Tensor) -> Tensor:
    """Masks (n, h, w) of crops (n, h, w, 3) in 0..1: 1 on skin, eyes, nose, mouth, glasses and hair."""
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    device = next(parser.parameters()).device
    with torch.no_grad():
        scores = cast(Tensor, parser(((crops - mean) / std).movedim(-1, 1).to(device, torch.float32)))
    classes = scores.argmax(1)
    return (~torch.isin(classes, torch.tensor(BACKGROUND, device=device))).float().cpu()


def grey_faces(crops: Tensor, masks: Tensor | None, grey: bool = True) -> Tensor:
    """Turn crops (n, h, w, 3) grey (unless `grey` is False), and white where a mask (n, h, w) is 0."""
    faces = (crops * torch.tensor(GREY)).sum(-1, keepdim=True).expand_as(crops) if grey else crops
    return faces if masks is None else torch.lerp(torch.ones_like(faces), faces, masks.unsqueeze(-1))


def _mean(x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


def _to_size(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="nearest")
