"""The mutations of mutations.py: where, what is written in place of what, what that breaks, who should notice.

Texts are formulas, which outlive the code around them. A row whose text is gone gets the new one.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """One line of the code made wrong: what breaks, where it stands, the ways to write it, who should notice."""

    breaks: str
    where: str  # glob of the files among which exactly one has the text
    ways: dict[str, str]  # text of the code: what to put in its place; the first text that is found counts
    tests: tuple[str, ...]  # globs below tests/


HEART = (
    Mutation(
        "masks do nothing in a cross-attention",
        "ipadapter/attention.py",
        {"torch.addcmul(out, seen, image.mask, value=image.gain)": "torch.add(out, seen, alpha=image.gain)"},
        ("ipadapter/test_attention.py",),
    ),
    Mutation(
        "masks do nothing in Flux",
        "ipadapter/attention.py",
        {"torch.addcmul(out, seen, self.mask, value=self.gain)": "torch.add(out, seen, alpha=self.gain)"},
        ("ipadapter/test_transformer_attention.py", "transformers/test_behaviour.py"),
    ),
    Mutation(
        "K+V scales values only",
        "ipadapter/attention.py",
        {"return _times(k, weight), _times(v, weight)": "return k, _times(v, weight)"},
        ("ipadapter/test_attention.py", "nodes/test_model_patch.py"),
    ),
    Mutation(
        "K+mean(V) scales all of the values",
        "ipadapter/attention.py",
        {"(v - mean) + mean * penalty": "v * penalty"},
        ("ipadapter/test_attention.py", "nodes/test_model_patch.py"),
    ),
    Mutation(
        "the channel penalty grows above 1 in wide layers",
        "ipadapter/attention.py",
        {"min(1.0, k.shape[-1] / FULL_WIDTH)": "(k.shape[-1] / FULL_WIDTH)"},
        ("ipadapter/test_attention.py", "nodes/test_model_patch.py"),
    ),
    Mutation(
        "a pushed layer shows the negative rows their own tokens",
        "ipadapter/image_prompt.py",
        {"pair.positive if pushed else pair.negative": "pair.negative"},
        ("ipadapter/test_image_prompt.py", "nodes/test_binding.py"),
    ),
    Mutation(
        "a pushed layer shows the positive rows the reference",
        "ipadapter/image_prompt.py",
        {"0.0 if branch == POSITIVE else 1.0": "1.0"},
        ("ipadapter/test_image_prompt.py", "nodes/test_binding.py"),
    ),
    Mutation(
        "a short batch of frames starts again where its last entry should stay",
        "ipadapter/image_prompt.py",
        {"x[torch.tensor([min(frame, len(x) - 1)": "x[torch.tensor([frame % len(x)"},
        ("ipadapter/test_image_prompt.py",),
    ),
    Mutation(
        "a norm of SD3.5 is not divided out",
        "ipadapter/mechanisms/joint_attention.py",
        {"(adapter_weight / model_weight.to(x.device, torch.float32))": "adapter_weight.float()"},
        ("ipadapter/test_transformer_attention.py",),
    ),
    Mutation(
        "queries of Flux are rotated on in place of back",
        "ipadapter/token_attention.py",
        {'"...ij,...i->...j"': '"...ij,...j->...i"'},
        ("ipadapter/test_transformer_attention.py",),
    ),
    Mutation(
        "checkpoints are numbered in execution order",
        "ipadapter/matching.py",
        {'{"input": 0, "output": 1, "middle": 2}': '{"input": 0, "output": 2, "middle": 1}'},
        ("ipadapter/test_sites.py",),
    ),
    Mutation(
        "the weight of FaceID Plus V2's refinement is ignored",
        "ipadapter/projection.py",
        {"alpha=face_weight": "alpha=1.0"},
        ("ipadapter/test_projection.py",),
    ),
    Mutation(
        "the resampler forgets its latents",
        "ipadapter/resampler.py",
        {"attention(x, latents) + latents": "attention(x, latents)"},
        ("ipadapter/test_projection.py",),
    ),
)

BINDINGS = (
    Mutation(
        "context windows are ignored, and every window is taken for the first frames",
        "ipadapter/image_prompt.py",
        {
            "self.window if self.window is not None else tuple(range(self.frames))": "tuple(range(self.frames))",
        },
        ("nodes/test_binding.py",),
    ),
    Mutation(
        "the anchor frame of a context window is left out",
        "nodes/sampling/*.py",
        {"(*([anchor] if anchor is not None and anchor >= 0 else []), *window.index_list)": "tuple(window.index_list)"},
        ("nodes/test_binding.py", "compatibility/test_frames.py"),
    ),
    Mutation(
        "branches are read from ComfyUI's labels, whatever a guider means by them",
        "nodes/sampling/*.py",
        {"known.get(_uuids(cond or ()), ": "(lambda _, branch: branch)(cond, "},
        ("nodes/test_binding.py",),
    ),
    Mutation(
        "an area sees the whole mask",
        "nodes/sampling/*.py",
        {"mask_on_grid(mask, grid, area, rows.canvas)": "mask_on_grid(mask, grid)"},
        ("nodes/test_binding.py",),
    ),
    Mutation(
        "clones share patch objects",
        "nodes/sampling/*.py",
        {"lambda patch: patch.copy()": "lambda patch: patch"},
        ("nodes/test_binding.py",),
    ),
    Mutation(
        "frames get the keys and values of an earlier window",
        "nodes/sampling/*.py",
        {"rows.indices if prompt.rows_differ else None": "None"},
        ("nodes/test_binding.py",),
    ),
    Mutation(
        "keys and values stay on the device when sampling ends",
        "nodes/sampling/*.py",
        {"self.store.clear()": "pass"},
        ("performance/test_memory.py",),
    ),
)

APPLYING = (
    Mutation(
        "fewer negative pictures than positive ones slide across rows",
        "nodes/applying/keys_values.py",
        {"return positive, pick_images(negative, range(len(positive)))": "return positive, negative"},
        ("nodes/test_binding.py",),
    ),
    Mutation(
        "the prompts that a model has already are dropped",
        "nodes/sampling/*.py",
        {"(*attached_prompts(model), *prompts)": "tuple(prompts)"},
        ("nodes/test_model_patch.py", "nodes/test_fixed_defects.py", "transformers/test_behaviour.py"),
    ),
    Mutation(
        "a weight type leaves a layer text without its pushed layers",
        "nodes/applying/*.py",
        {"rule_of(strength.weight_type).pushed(blocks)": "frozenset()"},
        ("nodes/test_binding.py",),
    ),
)

MASKS = (
    Mutation(
        "text gets all of a Flux image prompt wherever its mask has a white pixel",
        "masks/grid.py",
        {"mask.mean(dim=1, keepdim=True)": "mask.amax(dim=1, keepdim=True)"},
        ("masks/test_grid.py", "transformers/test_behaviour.py"),
    ),
    Mutation(
        "an area sees the corner of a mask in place of its own part",
        "masks/grid.py",
        {"round(area[2 + axis] * scale)": "0"},
        ("masks/test_grid.py",),
    ),
)

SCHEDULES = (
    Mutation(
        "a sigma between two entries of the table is not interpolated",
        "weight_schedules/position.py",
        {"(target - low) / (high - low)": "0.0"},
        ("weight_schedules/test_*.py", "nodes/test_fixed_defects.py", "nodes/test_binding.py"),
    ),
    Mutation(
        "a prompt ends a step early",
        "weight_schedules/position.py",
        {"last * (1 - _ROUNDING)": "last * (1 + _ROUNDING)"},
        ("weight_schedules/test_*.py", "nodes/test_fixed_defects.py", "nodes/test_contract.py"),
    ),
    Mutation(
        "eased weight types reach their end in the last layer",
        "weight_schedules/layers.py",
        {"curve(layer / len(blocks))": "curve(layer / (len(blocks) - 1))"},
        ("weight_schedules/test_layers.py",),
    ),
    Mutation(
        "style transfer precise pushes away everything but the composition",
        "weight_schedules/layers.py",
        {
            "_style_precise, pushed=lambda roles, layer: layer in": (
                "_style_precise, pushed=lambda roles, layer: layer not in"
            )
        },
        ("weight_schedules/test_layers.py",),
    ),
    Mutation(
        "the shorter list of frame weights starts again",
        "weight_schedules/schedule.py",
        {"first[min(frame, len(first) - 1)] * second[min(frame, len(second) - 1)]":
         "first[frame % len(first)] * second[frame % len(second)]"},
        ("weight_schedules/test_schedule.py",),
    ),
)  # fmt: skip

ENCODERS = (
    Mutation(
        "what a mask hides has CLIP's mean colour, whatever the encoder's is",
        "encoders/encoder.py",
        {"torch.tensor(encoder.mean).to(images)": "torch.tensor((0.48145466, 0.4578275, 0.40821073)).to(images)"},
        ("encoders/test_vision.py", "nodes/test_vision_encoders.py"),
    ),
    Mutation(
        "tiles weigh what the whole picture should",
        "*/vision.py",
        {"torch.lerp(parts, whole, ratio)": "torch.lerp(whole, parts, ratio)"},
        ("*/test_vision.py",),
    ),
    Mutation(
        "a picture that comes twice in a batch is given once",
        "*/vision.py",
        {"rows = [row_of[key] for key in keys]": "rows = list(range(len(unique)))"},
        ("*/test_vision.py",),
    ),
    Mutation(
        "other pictures get the same noise",
        "*/noise.py",
        {"manual_seed(int(base.sum()) % SEEDS)": "manual_seed(0)"},
        ("*/test_noise.py",),
    ),
)
REFERENCES = (
    Mutation("a reference stands at the picture's own positions, and is copied", "nodes/sampling/joint_attentions.py",
             {"k = positions.to_the_right(k, columns)": "pass"}, ("references/test_riding_transformers.py",)),
    Mutation("in a picture that is filled up, its last tokens are taken for it", "nodes/sampling/joint_attentions.py",
             {"filled = -self.picture % family.fills(self.network)": "filled = 0"},
             ("references/test_riding_transformers.py",)),
    Mutation("layers of other weights have the plan of the first layer", "nodes/sampling/reference_override.py",
             {"key = (self.weights[layer], k.shape": "key = (k.shape"}, ("references/test_reference_weights.py",)),
    Mutation("the attention to an image prompt is taken for one of the model's own", "nodes/sampling/backend.py",
             {"while isinstance(override, OwnOverride):": "while False:"}, ("references/test_beside_others.py",)),
    Mutation("ComfyUI frees no memory for what riding references keep", "nodes/sampling/hooks.py",
             {"count + math.ceil(kept / math.prod(size[1:]))": "count"}, ("references/test_costs.py",)),
    Mutation("a schedule has weight 1 in all steps", "nodes/sampling/plan.py",
             {"self.mask, weight, rule": "self.mask, 1.0, rule"}, ("server/test_schedules.py",)),
    Mutation("a map of one reference is that of all", "nodes/sampling/reference_watch.py",
             {"marks[:, :, span, number] = 1": "marks[:, :, span] = 1"}, ("references/test_reference_watch.py",)),
    Mutation("negative rows look by the square of what was asked", "nodes/sampling/looking.py",
             {"reference.negative if branch": "reference.negative**2 if branch"},
             ("references/test_riding_formulas.py",)),
    Mutation("InstantID's ControlNet begins a step later than its attention", "nodes/sampling/face_control.py",
             {"self.net.timestep_range = rounded_range(*acting)": "pass"},
             ("identity/test_face_control.py",)),
    Mutation("rows that look at a reference see masked tokens of the text", "ipadapter/reference_attention.py",
             {"bias = None if self.bias is None else": "bias = None if True else"},
             ("references/test_riding_transformers.py",)),
)  # fmt: skip
PUBLISHED = (
    Mutation("an encoder of another number of tokens is run", "ipadapter/presets.py",
             {"EncoderSizes(*file.sizes) == sizes": "sizes.gives(config)"}, ("nodes/test_encoder_search.py",)),
    Mutation("a SigLIP 2 is run in place of a SigLIP of its sizes", "ipadapter/presets.py",
             {"and not file.is_other(name) for": "for"}, ("nodes/test_encoder_search.py",)),
    Mutation("a face pack without recogniser counts as complete", "encoders/face_models.py",
             {'"detection": "detector", "recognition": "recogniser"': '"detection": "detector"'},
             ("model_doctor/test_doctor.py", "faces/test_face_models.py")),
    Mutation("the terminal fetches a face pack over half of one", "terminal/fetching.py",
             {"half_pack(wanted.name, target.parent)": '""'}, ("model_doctor/test_terminal.py",)),
    Mutation("black masks are not named", "nodes/applying/apply.py",
             {"mask is not None and not mask.any() for mask": "False for mask"}, ("nodes/test_counts.py",)),
    Mutation("PuLID does not name a black mask", "nodes/applying/pulid.py",
             {"    note_black_masks([strength.mask])\n": ""}, ("identity/test_pulid_sdxl.py",)),
    Mutation("a FaceID LoRA is put on modules that another pack left", "nodes/loading/face_lora.py",
             {"original_model(model)": "model.model.diffusion_model"}, ("faces/test_lora.py",)),
    Mutation("a file with two names is refused as two files", "ipadapter/search.py",
             {"{folder.files[name].resolve() for name in fitting}": "fitting"}, ("nodes/test_search.py",)),
    Mutation("riding references act where another pack's self-attention takes no patch", "nodes/sampling/riding.py",
             {"    ride.check(model)\n": ""}, ("compatibility/test_replaced_modules.py",)),
    Mutation("tiles in one call are taken for more latents", "nodes/sampling/*.py",
             {"Rows(branches * tiles, latents,": "Rows(branches, latents * tiles,"}, ("nodes/test_tiles.py",)),
)  # fmt: skip
MUTATIONS = (*HEART, *BINDINGS, *APPLYING, *MASKS, *SCHEDULES, *ENCODERS, *REFERENCES, *PUBLISHED)
