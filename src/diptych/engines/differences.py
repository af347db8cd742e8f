"""The ledger: where PyTorch and TensorFlow/Keras differ, what both engines do, and the test that proves it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """A row of the ledger; code refers to its key with `# differs: <key>`."""

    key: str
    torch: str
    """What PyTorch does."""
    tensorflow: str
    """What TensorFlow or Keras does."""
    rule: str
    """What both engines do."""
    proof: str
    """The pytest node that measures the frameworks and checks both engines."""


# key: PyTorch; TensorFlow or Keras; both engines; the test, in tests/contract/test_differences_*.py.
_ROWS = {
    # layouts, layers, number formats
    "image-layout": (
        "Feature maps are (N, C, H, W).",
        "Feature maps are (N, H, W, C).",
        "Images are (N, H, W, C); PyTorch receives a transposed view, never a copy.",
        "layout::test_images_are_nhwc_outside_and_reach_pytorch_without_a_copy",
    ),
    "conv-kernel-axes": (
        "(out, in / groups, height, width).",
        "(height, width, in / groups, out); depthwise (height, width, in, multiplier).",
        "Stored in PyTorch's layout; the TensorFlow engine converts.",
        "layout::test_convolution_kernels_are_oihw_outside",
    ),
    "dense-kernel-axes": (
        "(out, in).",
        "(in, out).",
        "Stored in PyTorch's layout; the TensorFlow engine converts.",
        "layout::test_dense_kernels_are_outputs_by_inputs_outside",
    ),
    "flatten-order": (
        "Channel, height, width.",
        "Height, width, channel.",
        "Stored in PyTorch's order; in TensorFlow, the rows of a Dense kernel after a Flatten are permuted.",
        "layout::test_flattened_maps_are_in_channel_height_width_order",
    ),
    "same-padding": (
        "Rejects 'same' with a stride; explicit padding is equal on opposite sides.",
        "'same' with a stride puts the odd pixel at the bottom and on the right.",
        "The spec sets the padding of each side; neither engine uses 'same' with a stride.",
        "layout::test_convolutions_are_padded_by_explicit_amounts",
    ),
    "max-pool-padding": (
        "Pads with minus infinity, equally on opposite sides.",
        "Pads with minus infinity, more at the bottom and on the right.",
        "The spec sets the padding: minus infinity, equal on opposite sides.",
        "layout::test_max_pooling_pads_with_minus_infinity_on_both_sides",
    ),
    "avg-pool-padding": (
        "Padding counts in the divisor.",
        "Padding is excluded from the divisor.",
        "Padding is excluded from the divisor.",
        "layout::test_average_pooling_leaves_padding_out_of_the_divisor",
    ),
    "norm-epsilon": (
        "1e-5.",
        "1e-3.",
        "The spec's value.",
        "layers::test_a_norms_epsilon_is_the_specs",
    ),
    "norm-momentum": (
        "Weight of the new statistics: 0.1.",
        "Weight of the old statistics: 0.99.",
        "The spec's decay, the weight of the old statistics.",
        "layers::test_a_norms_decay_is_the_share_of_the_old_statistics",
    ),
    "norm-running-variance": (
        "Unbiased, n / (n - 1).",
        "Biased in the Keras layer; unbiased in the fused kernel, which is 3 times as fast on a CPU.",
        "Unbiased by default, biased if the spec says so. TensorFlow uses the fused kernel, except in float64.",
        "layers::test_a_norms_running_variance_is_the_unbiased_one",
    ),
    "norm-one-value": (
        "Normalizing a single value raises an error.",
        "Returns zeros.",
        "A last batch of one sample is merged into the batch before it.",
        "data::test_a_last_sample_on_its_own_joins_the_batch_before",
    ),
    "leaky-relu": (
        "Slope 0.01.",
        "Slope 0.3 in the layer, 0.2 in the function.",
        "The spec's value.",
        "layers::test_leaky_relus_slope_is_the_specs",
    ),
    "gelu": (
        "Exact.",
        "Exact as an activation, the tanh approximation in `keras.ops.gelu`.",
        "Exact.",
        "layers::test_gelu_is_the_exact_one",
    ),
    "rescaling-constants": (
        "A module's buffers keep full precision.",
        "Rescaling rounds its constants to float32, even in float64.",
        "Constants are arrays of the layer's dtype.",
        "layers::test_normalization_constants_keep_their_last_digits",
    ),
    "constant-cast": (
        "Python numbers are float64 in operations with a float64 tensor.",
        "`tf.cast` rounds them to float32; gelu does so to its √2, leaky_relu to its slope.",
        "`tf.constant` with an explicit dtype; in float64, both activations use basic operations.",
        "layers::test_constants_keep_their_float64_digits",
    ),
    "dropout-stream": (
        "Masks from PyTorch's generator.",
        "Masks from Keras's seed counter.",
        "Each engine draws its own masks from seed and step; exact comparisons set the rate to 0.",
        "layers::test_dropout_masks_differ_but_rate_and_scale_do_not",
    ),
    "train-mode": (
        "A state of the module; training by default.",
        "An argument of the call; inference by default.",
        "Each command sets the mode it needs.",
        "layers::test_training_and_inference_are_never_a_state_left_behind",
    ),
    "initial-weights": (
        "U(±1/√fan_in), also for biases; He normal is not truncated.",
        "Glorot uniform, zero biases; He normal is truncated at two standard deviations.",
        "Drawn in NumPy from the seed and the array's name, by the spec's initializers for kernels and biases.",
        "layers::test_initial_weights_are_drawn_by_the_spec_for_both",
    ),
    "mixed-precision": (
        "`autocast` chooses the dtype of each operation.",
        "A policy sets the dtype of each layer.",
        "Weights and the first and last layers stay float32; the engines agree statistically, not exactly.",
        "layers::test_bfloat16_is_arithmetic_and_weights_and_logits_stay_float32",
    ),
    # losses, optimizers, schedules, runtime
    "loss-scale": (
        "GradScaler starts at 65536.",
        "LossScaleOptimizer starts at 32768.",
        "65536; an overflow halves it and counts as a step without an update.",
        "optimizers::test_float16s_loss_scale_starts_and_adapts_alike",
    ),
    "sgd-velocity": (
        "buffer = m · buffer + gradient; weight -= rate · buffer.",
        "buffer = m · buffer - rate · gradient; weight += buffer. RMSprop's buffer includes the rate too.",
        "PyTorch's form, or Keras's with `update_form keras`; they diverge when the rate changes.",
        "optimizers::test_the_learning_rate_stays_outside_sgds_buffer",
    ),
    "adam-epsilon": (
        "1e-8, added after bias correction.",
        "1e-7, added before bias correction.",
        "PyTorch's form, or Keras's with `update_form keras`; they differ by a factor √(1 - beta2^t).",
        "optimizers::test_adams_epsilon_is_added_after_bias_correction",
    ),
    "adam-complements": (
        "1 - beta2 in float64.",
        "The fused kernel computes 1 - beta2 in the weights' format: off by 1.3e-5 in float32.",
        "Each framework's own: equal in float64; in float32 the second moments differ by 1.3e-5.",
        "optimizers::test_adams_second_moment_parts_in_float32_alone",
    ),
    "weight-decay": (
        "Added to the gradient, except in AdamW.",
        "Decoupled from the gradient in every optimizer.",
        "Two fields, `l2` and `decoupled_decay`; neither applies to the roles in `no_decay`.",
        "optimizers::test_both_weight_decays_have_a_name",
    ),
    "rmsprop-epsilon": (
        "1e-8 outside the root; decay 0.99.",
        "1e-7 inside the root; decay 0.9.",
        "PyTorch's form, or Keras's with `update_form keras`.",
        "optimizers::test_rmsprops_epsilon_is_outside_the_root",
    ),
    "gradient-clipping": (
        "By the global norm, plus 1e-6.",
        "`clipnorm` by each variable's own norm; `global_clipnorm` adds nothing.",
        "By the global norm, plus PyTorch's 1e-6.",
        "optimizers::test_gradients_are_clipped_by_their_common_norm",
    ),
    "weight-average": (
        "AveragedModel copies running statistics and averages the rest with decay 0.999.",
        "`use_ema` averages trainable variables with decay 0.99 and ignores statistics.",
        "Averages every array with the recipe's decay, which starts lower.",
        "optimizers::test_running_averages_forget_early_weights_and_hold_statistics",
    ),
    "lr-clock": (
        "A scheduler advances when it is called.",
        "A schedule advances every step, a callback every epoch.",
        "Shared code computes the rate as a function of the step.",
        "optimizers::test_each_step_uses_the_rate_it_receives",
    ),
    "plateau": (
        "Reduces the rate one epoch after its patience is over; improvement is relative.",
        "Reduces it when its patience is over; improvement is at least 1e-4.",
        "When the patience is over; any lower loss is an improvement.",
        "optimizers::test_a_plateau_is_patience_epochs_without_a_lower_loss",
    ),
    "early-stopping": (
        "None.",
        "Stops when its patience is over.",
        "Shared code: stops when the patience is over.",
        "optimizers::test_early_stopping_waits_patience_epochs_for_a_lower_loss",
    ),
    "loss-input": (
        "Logits.",
        "Probabilities by default.",
        "Logits.",
        "losses::test_losses_read_logits",
    ),
    "label-smoothing": (
        "For class indices and soft targets.",
        "For soft targets only.",
        "Targets are soft and smoothed before they reach the loss.",
        "losses::test_smoothed_labels_reach_the_loss_as_soft_targets",
    ),
    "class-weights": (
        "Divides by the sum of the weights.",
        "Divides by the batch size.",
        "Divides by the sum of the weights.",
        "losses::test_weighted_losses_are_divided_by_the_sum_of_weights",
    ),
    "epoch-loss": (
        "Left to the user, often a mean of batch means.",
        "`fit` weights each batch by its size.",
        "Each sample counts by its weight.",
        "losses::test_an_epochs_loss_counts_each_sample_by_its_weight",
    ),
    "tf32": (
        "Off for matrix products, on for convolutions.",
        "On for both.",
        "Off.",
        "runtime::test_tf32_is_off_in_both",
    ),
    "denormals": (
        "Keeps them, which is slow: moments of weights without a gradient become denormal.",
        "Flushes them to zero.",
        "Flushes them to zero.",
        "runtime::test_denormal_numbers_are_zero_in_both",
    ),
    "compile": (
        "Eager.",
        "Keras sets `jit_compile` to 'auto', which may use XLA.",
        "PyTorch runs eagerly, TensorFlow in a `tf.function` without XLA; the run records it.",
        "runtime::test_compilation_is_a_recorded_choice",
    ),
    # data
    "decode": (
        "Pillow, through torchvision: accurate; ignores EXIF and alpha, fills damaged JPEGs with gray.",
        "A fast, less accurate inverse DCT; ignores EXIF and alpha, fills damaged JPEGs with gray.",
        "Decoded once, in `data/decode`: accurate, EXIF applied, alpha blended with white; damage is an error.",
        "data::test_images_are_decoded_once_upright_over_white_and_whole",
    ),
    "resize": (
        "Pillow antialiases; `interpolate` does not, and has its own bicubic filter.",
        "No antialiasing.",
        "Resized once, in `data/preprocess`: averages of pixel blocks, then bilinear.",
        "data::test_images_are_resized_once_by_means_of_blocks",
    ),
    "shuffle": (
        "A permutation from a stateful generator.",
        "Draws from a sliding buffer.",
        "A permutation that depends only on seed and epoch.",
        "data::test_the_order_of_samples_follows_from_seed_and_epoch_alone",
    ),
    "augmentation": (
        "torchvision transforms, per sample, from the loader worker's generator.",
        "Layers, from Keras's seed counter; RandomCrop crops all images of a batch alike.",
        "NumPy, a whole batch at once; each sample depends only on seed, epoch and index.",
        "data::test_each_sample_is_augmented_on_its_own_whatever_its_batch",
    ),
}
LEDGER = tuple(
    Difference(key, torch, tensorflow, rule, "tests/contract/test_differences_{}.py::{}".format(*proof.split("::")))
    for key, (torch, tensorflow, rule, proof) in _ROWS.items()
)
