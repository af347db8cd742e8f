"""Which comparison finds each planted fault first, and where: `<precision>: <comparison>: <array>`, as patterns.

`naive_variance` is left out: nothing finds it, because the frameworks' own norms lose digits far from zero, too.
"""

ALONE, EVALUATION, TRAINING = "each layer alone", "forward pass in evaluation", "forward pass in training"
FORMATS, MASKS, TWO, MANY = "number formats", "dropout masks", "two updates", "120 updates of a small model"

TORCH = {
    # Layers.
    "norm_epsilon": f"float64: {EVALUATION}: norm1",
    "pad_in_divisor": f"float64: {EVALUATION}: average",
    "tanh_gelu": f"float64: {EVALUATION}: gelu",
    "shifted_pad": f"float64: {EVALUATION}: uneven",
    "flatten_order": f"float64: {EVALUATION}: flatten",
    "concat_rotated": f"float64: {EVALUATION}: maps",
    "epsilon_beside_root": f"float64: {EVALUATION}: norm1",
    "biased_variance": f"float64: {ALONE}: norm1/training/running_var",
    "momentum_rounded": f"float64: {ALONE}: norm3/training/running_mean",
    "sigmoid_clamped": f"float64: {ALONE}: sigmoid/output",
    "relu_passes_at_zero": f"float64: {ALONE}: relu/input/norm2",
    "wrong_backward": "float64: gradients: grouped.bias",
    "pool_backward_counts_pad": "float64: gradients: norm1.bias",
    "shortcut_detached": "float64: gradients: norm1.bias",
    # Dropout.
    "dropout_unscaled": f"float64: {TRAINING}: elements",
    "layers_share_masks": f"float64: {TRAINING}: elements",
    "mask_from_step_1": f"float64: {TRAINING}: elements",
    "mask_of_nchw": f"float64: {TRAINING}: elements",
    "mask_not_in_gradient": "float64: gradients: hidden.bias",
    "same_mask_at_every_step": f"float64: {MASKS}: elements/step 2: torch",
    "masks_of_first_epoch": "float64: training with dropout: .*",
    # Number formats.
    "head_in_bfloat16": f"b?float16: {FORMATS}: head",
    "grouped_left_in_float32": f"b?float16: {FORMATS}: grouped",
    "tf32_convolution": f"float32: {ALONE}: stem/.*",
    # Losses.
    "loss_in_bfloat16": "float32: training: .*",
    "mean_by_count": "float64: loss: loss",
    "soft_targets_lost": "float64: loss: loss",
    # Updates.
    "clip_each": f"float64: {TWO}: sgd/step 2/.*",
    "decay_everything": f"float64: {TWO}: sgd/step 1/.*bias",
    "decay_after_update": f"float64: {TWO}: sgd/step 1/.*weight",
    "keras_epsilon": f"float64: {TWO}: adam/step 1/.*",
    "rate_of_first_group": f"float64: {MANY}: sgd/step 30/.*bias",
    "rmsprop_centered": f"float64: {TWO}: rmsprop/step 1/.*",
    "step_count_not_loaded": f"float64: {TWO}: adam/step 2/.*",
    "averages_not_loaded": f"float64: {TWO}: sgd/step 1/average/.*",
    "keras_form_l2_unscaled": f"float64: {TWO}: sgd in Keras's form/step 1/.*",
    "clip_before_unscale": f"float16: {TWO}: sgd with a loss scale/step 1/.*",
    "nesterov_ends": f"float64: {MANY}: sgd/step 120/.*",
    "bias_correction_ends": f"float64: {MANY}: adam/step 120/.*",
    "average_ignores_decay": f"float64: {MANY}: sgd/step 120/average/.*",
    # Training.
    "gradients_pile_up": "float64: training with plain SGD: .*",
    "loss_of_full_batches": "float64: training with plain SGD: .*",
    "statistics_not_averaged": f"float16: {TWO}: sgd with a loss scale/step 1/average/norm1.running_mean",
    "best_weights_follow": "float64: training with best weights: .*",
    "best_of_equals_is_last": "float64: training with best weights: best epoch",
    "last_chunk_shifted": "float64: training on digits: .*",
    "rate_of_step_before": "float64: training with step schedule: .*",
}
TENSORFLOW = {
    # Layers.
    "relu_to_six": f"float64: {EVALUATION}: relu",
    "max_pool_pads_zeros": f"float64: {EVALUATION}: largest",
    "multiplier_first": f"float64: {EVALUATION}: depthwise",
    "pad_channels_swapped": f"float64: {EVALUATION}: widened",
    "flatten_rows_first": f"float64: {EVALUATION}: shared",
    "variance_by_samples": f"float64: {ALONE}: norm1/training/running_var",
    "silu_gate_constant": "float64: gradients: norm1.bias",
    # Dropout.
    "dropout_in_evaluation": f"float64: {EVALUATION}: elements",
    "dropout_keeps_rate": f"float64: {TRAINING}: elements",
    "samples_share_mask": f"float64: {TRAINING}: elements",
    "channel_mode_drops_elements": f"float64: {TRAINING}: channels",
    "mask_of_keras_order": f"float64: {TRAINING}: features",
    "mask_not_in_gradient": "float64: gradients: hidden.bias",
    "same_mask_at_every_step": f"float64: {MASKS}: elements/step 2: tensorflow",
    "rate_in_256ths": f"float64: {MASKS}: elements/step .: tensorflow",
    "same_mask_in_a_call": "float64: training with dropout: .*",
    "mask_ignores_seed": "float64: training with dropout: .*",
    # Number formats.
    "head_in_bfloat16": f"b?float16: {FORMATS}: head",
    "hidden_dense_in_float32": f"b?float16: {FORMATS}: dense",
    "fused_epsilon": f"float32: {ALONE}: norm1/evaluation/output",
    "gelu_fast": f"float32: {ALONE}: gelu/output",
    "slope_rounded": f"float32: {ALONE}: leaky/output",
    "statistics_in_bfloat16": "b?float16: .*: norm1/training/running_mean",
    # Losses.
    "probabilities_clipped": "float64: loss: loss of large logits",
    # Updates.
    "rate_in_momentum": f"float64: {TWO}: sgd/step 1/momentum/.*",
    "keras_epsilon": f"float64: {TWO}: adam/step 1/.*",
    "decay_at_peak_rate": f"float64: {TWO}: sgd/step 1/.*",
    "grouped_without_decay": f"float64: {TWO}: sgd/step 1/grouped.weight",
    "clip_without_constant": f"float64: {TWO}: sgd/step 2/.*",
    "average_without_first_steps": f"float64: {TWO}: sgd/step 1/average/.*",
    "average_of_step_before": f"float64: {TWO}: sgd/step 1/average/.*",
    "momentum_not_loaded": f"float64: {TWO}: sgd/step 1/momentum/.*",
    "slots_in_wrong_order": f"float64: {TWO}: sgd/step 1/.*dense.weight",
    "nesterov_ends": f"float64: {MANY}: sgd/step 120/.*",
    "average_ignores_decay": f"float64: {MANY}: sgd/step 120/average/.*",
    "epsilon_raised": f"float32: {TWO}: adam/step 1/.*",
    "overflow_keeps_count": f"float16: {TWO}: sgd with a loss scale/step 2/loss_scale",
    "clip_scales_up": f"float64: {TWO}: .*/step 1/.*",
    # Training.
    "loss_not_scaled": "float16: training: .*",
    "gradients_in_bfloat16": "float32: training: .*",
    "validation_of_trained": "float64: training with weight averages: epoch 1/validation_loss",
    "plateau_of_last_loss": "float64: training with plateau schedule: .*",
    "rate_in_float32": "float64: training with plain SGD: .*",
    "last_batch_dropped": "float64: training with plain SGD: .*",
    "partial_batch_filled": "float64: training with plain SGD: .*",
    "sums_start_over": "float64: training with plain SGD: epoch 1/train_loss",
    "loss_by_count": "float64: training with class weights: epoch 1/train_loss",
    "smoothing_of_other_classes": "float64: training with label smoothing: .*",
    "group_keeps_rate": "float64: training with cosine schedule: .*",
    "statistics_frozen": "float64: training with weight averages: .*",
    "stops_one_epoch_late": "float64: training with early stopping: .*",
    "number_of_first_step": "float64: training on digits: .*",
}
FAULTS = {
    (engine, fault): where
    for engine, faults in (("torch", TORCH), ("tensorflow", TENSORFLOW))
    for fault, where in faults.items()
}
