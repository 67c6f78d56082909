"""The operators, each next to its gradient; all of them are importable from :mod:`fastconv` itself.

Every differentiable operator ``f`` has ``f_backward(grad_output, <what f returned or needs saved>, <f's options>)``:

================================  ======================================================  ==========================
operator                          its backward                                            saved from the forward pass
================================  ======================================================  ==========================
conv1d|2d|3d                      (grad_output, input, weight, *, options, needs)         input, weight
conv_transpose1-3d                (grad_output, input, weight, *, options, needs)         input, weight
locally_connected1-2d             (grad_output, input, weight, *, options, needs)         input, weight
tiled_conv2d                      (grad_output, input, weight, *, options, needs)         input, weight
linear                            (grad_output, input, weight, *, needs)                  input, weight
max_pool1-3d                      (grad_output, indices, input_shape)                     indices
adaptive_max_pool                 (grad_output, indices, input_shape)                     indices
max_unpool1-3d                    (grad_output, indices)                                  indices
avg_pool1-3d                      (grad_output, input_shape, kernel_size, options)        input's shape
adaptive_avg_pool                 (grad_output, input_shape)                              input's shape
lp_pool1-3d                       (grad_output, input, norm_type, kernel_size, options)   input
unfold                            (grad_output, input_shape, kernel_size, options)        input's shape
fold                              (grad_output, kernel_size, options)                     nothing
pad                               (grad_output, pad, mode)                                nothing
interpolate                       (grad_output, input_shape, size, scale_factor, mode)    input's shape
relu, sigmoid, tanh               (grad_output, output)                                   output
leaky_relu, elu                   (grad_output, input, negative_slope or alpha)           input
gelu                              (grad_output, input, approximate)                       input
silu                              (grad_output, input)                                    input
softplus                          (grad_output, input, beta, threshold)                   input
prelu                             (grad_output, input, weight)                            input, weight
maxout                            (grad_output, choice, pool_size, dim)                   choice
softmax, log_softmax              (grad_output, output, dim)                              output
dropout, dropout2d                (grad_output, mask, p, training)                        mask
cross_entropy                     (grad_output, input, target, weight, *, options)        input
nll_loss                          (grad_output, input, target, weight, *, options)        input
mse_loss, l1_loss                 (grad_output, input, target, *, reduction)              input
huber_loss, smooth_l1_loss        (grad_output, input, target, *, options)                input
binary_cross_entropy_with_logits  (grad_output, input, target, weight, *, options)        input
batch_norm                        (grad_output, input, mean, var, weight, training, *)    input, mean and var (returned)
instance_norm                     (grad_output, input, running statistics, weight, *)     input
layer_norm                        (grad_output, input, normalized_shape, weight, eps)     input
group_norm                        (grad_output, input, num_groups, weight, eps)           input
local_response_norm               (grad_output, input, size, alpha, beta, k)              input
================================  ======================================================  ==========================
"""

from fastconv.functional.activation import *  # noqa: F403
from fastconv.functional.avg_pooling import *  # noqa: F403
from fastconv.functional.batch_norms import *  # noqa: F403
from fastconv.functional.channel_activation import *  # noqa: F403
from fastconv.functional.conv import *  # noqa: F403
from fastconv.functional.dropout import *  # noqa: F403
from fastconv.functional.group_norms import *  # noqa: F403
from fastconv.functional.linear import *  # noqa: F403
from fastconv.functional.local import *  # noqa: F403
from fastconv.functional.local_response import *  # noqa: F403
from fastconv.functional.loss import *  # noqa: F403
from fastconv.functional.lp_pooling import *  # noqa: F403
from fastconv.functional.max_pooling import *  # noqa: F403
from fastconv.functional.max_unpooling import *  # noqa: F403
from fastconv.functional.padding import *  # noqa: F403
from fastconv.functional.regression_loss import *  # noqa: F403
from fastconv.functional.resizing import *  # noqa: F403
from fastconv.functional.softmax import *  # noqa: F403
from fastconv.functional.tiled import *  # noqa: F403
from fastconv.functional.unfold import *  # noqa: F403
