"""The operator types that the compilers of both routes accept, and the groups of types in their rules.

An accepted operator is passed to the compiler, which may still fail to compile it.
"""
from __future__ import annotations

from model.graph.operators import CONVOLUTIONS

# From aws-neuron-tensorflow, python/neuron_cc_hlo.py, 75 types.
_TF2 = """
Add AddN AddV2 Any AvgPool AvgPool3D BatchMatMul BatchMatMulV2 BatchToSpaceND BiasAdd Cast Concat ConcatV2 Const Conv2D
Conv2DBackpropInput Conv3D Conv3DBackpropInputV2 Cumsum DepthwiseConv2dNative Einsum Elu Erf Exp ExpandDims
FakeQuantWithMinMaxVars FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Greater Identity IdentityN LeakyRelu
LogicalAnd LogicalNot MatMul Max MaxPool MaxPool3D Maximum Mean Minimum Mul Neg NotEqual Pack Pad Pow RealDiv Relu
Relu6 Reshape Rsqrt Select SelectV2 Selu Sigmoid Slice Softmax Softplus Softsign SpaceToBatchND Split SplitV Sqrt
Square SquaredDifference Squeeze StridedSlice Sub Sum Tanh Tile Transpose Unpack
"""

# From the SDK docs, page neuron-cc-ops-tensorflow, all releases, 116 types. An installed compiler prints its own with
# `neuron-cc list-operators --framework TENSORFLOW`.
_TF1 = """
Abs Add AddV2 AdjustContrastv2 AdjustSaturation All ArgMax ArgMin AvgPool BatchMatMul BatchMatMulV2 BatchToSpaceND
BiasAdd BroadcastTo Cast Ceil Cholesky Concat ConcatV2 Const Conv2D Conv2DBackpropInput Conv3D Cos CropAndResize
DepthwiseConv2dNative Equal Erf Exp ExpandDims Fill Floor FloorDiv FusedBatchNorm FusedBatchNormV3 Greater GreaterEqual
HSVToRGB Identity InvertPermutation L2Loss LRN LeakyRelu Less LessEqual Log1p LogSoftmax LogicalAnd LogicalNot
LogicalOr MatMul MatrixBandPart MatrixDiag MatrixSetDiag MatrixTriangularSolve Max MaxPool MaxPool3D Maximum Mean Min
Minimum MirrorPad Mul Neg NoOp NotEqual Pack Pad PadV2 Placeholder Pow Prod RGBToHSV RandomUniform Range Rank RealDiv
Reciprocal Relu Relu6 Reshape ResizeBilinear ResizeNearestNeighbor ReverseV2 Round Rsqrt Select Shape Sigmoid Sign Sin
Size Slice Softmax SoftmaxCrossEntropyWithLogits Softplus SpaceToBatchND Split SplitV Sqrt Square SquaredDifference
Squeeze StopGradient StridedSlice Sub Sum Tanh Tile Transpose Unpack UnsortedSegmentSum Unstack ZerosLike isNan
"""

# Route → the types that may be placed on the device. tensorflow-neuron 1.15 corrects its compiler's list by three.
SUPPORTED = {
    "tf1": frozenset(_TF1.split()) - {"Placeholder", "IdentityN"} | {"SquaredDifference"},
    "tf2": frozenset(_TF2.split()),
}

# Operators whose arithmetic makes a segment worth having (aws-neuron-tensorflow, convert_graph.cc).
EXPENSIVE = CONVOLUTIONS | {
    "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Conv2DBackpropFilter", "Conv3DBackpropFilterV2",
    "DepthwiseConv2dNativeBackpropFilter", "Einsum", "MatMul",
}

# Types that do not count for the minimum size of a segment.
PASSED_THROUGH = frozenset({"Identity", "Snapshot", "StopGradient"})
