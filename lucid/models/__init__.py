"""MONAI's and nnU-Net's networks, which load the weights that these trained."""

from lucid.models.nnunet_residual import BasicBlockD, BottleneckD
from lucid.models.plain_conv_unet import PlainConvUNet
from lucid.models.plans import nnunet_from_plans
from lucid.models.residual_encoder_unet import ResidualEncoderUNet
from lucid.models.segresnet import SegResNet
from lucid.models.unet import UNet

__all__ = [
    "BasicBlockD",
    "BottleneckD",
    "PlainConvUNet",
    "ResidualEncoderUNet",
    "SegResNet",
    "UNet",
    "nnunet_from_plans",
]


def __dir__() -> list[str]:
    return __all__
