"""A table of ComfyUI's functions and options that the pack uses; doctor/host.py checks it (docs/architecture.md)."""

from dataclasses import dataclass

UNET, FLUX, MMDIT = "unet", "flux", "mmdit"  # structures of ipadapter/sites.py
ALL = (UNET, FLUX, MMDIT)
OLDEST = "0.16.3"
LEAST_TORCH = (2, 7)  # of ComfyUI since 0.32, and the oldest PyTorch that the tests were run on


@dataclass(frozen=True)
class Need:
    """A name or texts in a file of ComfyUI, on which the pack depends.

    Args:
        name: a function, class or variable of the module, or Class.attribute; "" if only `texts` are compared
        takes: the first parameters after `self`, in the order in which the pack passes or receives them
        keywords: parameters that the pack passes by name
        texts: strings in the file's source, where ComfyUI reads or writes an option
        lost: what does not work without it; with a later `since`, how the pack works without it
        refused: structures whose image prompts are refused without it, because pictures would be wrong
        since: the first release that has it; the pack works on older releases as `lost` describes
        spare: whether the pack works without it in every release, as `lost` describes
    """

    file: str
    name: str
    lost: str
    takes: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    since: str = OLDEST
    spare: bool = False


@dataclass(frozen=True)
class Fault:
    """A fault of ComfyUI itself, in its releases from `first` (major, minor) to before `mended`."""

    first: tuple[int, int]
    mended: tuple[int, int]
    text: str


FAULTS = (
    Fault(
        (0, 31), (0, 32),
        "its CLIP Vision encoders have a fault (change #15506 of ComfyUI), so references may be encoded wrongly or not "
        "at all",
    ),
)  # fmt: skip

PATCHER, SAMPLERS, BASE = "comfy/model_patcher.py", "comfy/samplers.py", "comfy/model_base.py"
EXTENSION, ATTENTION, PATHS = "comfy/patcher_extension.py", "comfy/ldm/modules/attention.py", "folder_paths.py"
OPENAI = "comfy/ldm/modules/diffusionmodules/openaimodel.py"
MMDIT_MODEL = "comfy/ldm/modules/diffusionmodules/mmdit.py"
FLUX_MODEL, FLUX_LAYERS = "comfy/ldm/flux/model.py", "comfy/ldm/flux/layers.py"


def _prompts(
    file: str,
    name: str,
    structures: tuple[str, ...] = ALL,
    takes: tuple[str, ...] = (),
    keywords: tuple[str, ...] = (),
    texts: tuple[str, ...] = (),
) -> Need:
    """A need of image prompts: without it, they are refused in models of these structures."""
    return Need(file, name, "image prompts", takes, keywords, texts, refused=structures)


ATTACHING = (
    *(
        _prompts(PATCHER, f"ModelPatcher.{name}", takes=takes)
        for name, takes in {
            "clone": (),
            "get_model_object": ("name",),
            "set_attachments": ("key", "attachment"),
            "get_attachment": ("key",),
            "add_wrapper_with_key": ("wrapper_type", "key", "wrapper"),
            "remove_wrappers_with_key": ("wrapper_type", "key"),
            "add_callback_with_key": ("call_type", "key", "callback"),
            "remove_callbacks_with_key": ("call_type", "key"),
        }.items()
    ),
    _prompts(PATCHER, "ModelPatcher.set_model_attn2_replace", (UNET,),
             takes=("patch", "block_name", "number", "transformer_index")),
    _prompts(PATCHER, "ModelPatcher.set_model_patch_replace", (FLUX, MMDIT),
             takes=("patch", "name", "block_name", "number")),
    _prompts(PATCHER, "", texts=("CallbacksMP.ON_CLONE", "CallbacksMP.ON_CLEANUP")),
    *(_prompts(EXTENSION, f"CallbacksMP.{name}") for name in ("ON_CLONE", "ON_CLEANUP")),
    *(_prompts(EXTENSION, f"WrappersMP.{name}") for name in ("SAMPLER_SAMPLE", "CALC_COND_BATCH", "APPLY_MODEL")),
)  # fmt: skip
SAMPLING = (
    _prompts(SAMPLERS, "KSAMPLER.sample", takes=("model_wrap", "sigmas", "extra_args", "callback", "noise")),
    _prompts(SAMPLERS, "calc_cond_batch", takes=("model", "conds", "x_in", "timestep", "model_options")),
    _prompts(SAMPLERS, "", texts=("WrappersMP.SAMPLER_SAMPLE", "WrappersMP.CALC_COND_BATCH")),
    *(
        _prompts(SAMPLERS, "", texts=(f'transformer_options["{option}"]',))
        for option in ("cond_or_uncond", "uuids", "sigmas")
    ),
    _prompts(BASE, "BaseModel.apply_model",
             takes=("x", "t", "c_concat", "c_crossattn", "control", "transformer_options")),
    _prompts(BASE, "", texts=("WrappersMP.APPLY_MODEL",)),
    *(
        _prompts("comfy/model_sampling.py", f"{schedule}.percent_to_sigma", (structure,), takes=("percent",))
        for schedule, structure in {
            "ModelSamplingDiscrete": UNET, "ModelSamplingFlux": FLUX, "ModelSamplingDiscreteFlow": MMDIT,
        }.items()
    ),
    Need("comfy/context_windows.py", "", "a picture, a weight or a mask for each frame in context windows",
         texts=('["context_window"]', "index_list")),
)  # fmt: skip
ATTENDING = (
    _prompts(ATTENTION, "optimized_attention"),
    *(
        _prompts(ATTENTION, name, takes=("q", "k", "v", "heads"),
                 keywords=("attn_precision", "skip_reshape", "skip_output_reshape"))
        for name in ("attention_pytorch", "attention_basic", "attention_split")
    ),
    _prompts(ATTENTION, "attention_sub_quad", keywords=("attn_precision", "skip_reshape", "skip_output_reshape")),
    *(
        _prompts(ATTENTION, "", (UNET,), texts=(text,))
        for text in (
            'transformer_options["activations_shape"]', 'transformer_options["block_index"]', '"n_heads"', '"dim_head"',
            '"attn_precision"', '"patches_replace"', '"attn2"',
        )
    ),
    _prompts(ATTENTION, "", (FLUX, MMDIT), texts=('"optimized_attention_override"',)),
    *(
        _prompts(OPENAI, "", (UNET,), texts=(text,))
        for text in ('transformer_options["block"]', 'transformer_options["transformer_index"]')
    ),
    *(
        _prompts(file, "", (structure,), texts=(text,))
        for file, structure, texts in (
            (FLUX_MODEL, FLUX, ('.get("dit"', '("double_block", i)', '("single_block", i)', '"original_block"')),
            (MMDIT_MODEL, MMDIT, ('.get("dit"', '("double_block", i)', '"original_block"')),
        )
        for text in texts
    ),
    Need(FLUX_LAYERS, "", "queries before their rotation, which are rotated back", texts=('"attn1_patch"',),
         since="0.18.2"),
    *(
        Need("comfy/controlnet.py", f"ControlBase.{name}", "the half of InstantID in its ControlNet", takes=takes)
        for name, takes in {
            "set_previous_controlnet": ("controlnet",),
            "control_merge": ("control", "control_prev", "output_dtype"),
            "pre_run": ("model", "percent_to_timestep_function"),
            "get_models": (),
            "cleanup": (),
        }.items()
    ),
    Need("comfy/controlnet.py", "ControlNet.get_control", "the half of InstantID in its ControlNet",
         takes=("x_noisy", "t", "cond", "batched_number", "transformer_options"), texts=("'crossattn_controlnet'",)),
    Need(BASE, "", "weights of reference pictures", texts=('"ref_latents"',)),
    Need(FLUX_MODEL, "", "weights of reference pictures by layer in Flux", texts=('"block_type"', '"block_index"')),
    Need(ATTENTION, "", "references that ride along", texts=('"attn1"',)),
    *(
        Need(file, name, f"references that ride along in {title}", texts=texts)
        for file, name, title, texts in (
            (FLUX_MODEL, "Flux", "Flux", ('"rope_options"',)),
            ("comfy/ldm/chroma/model.py", "Chroma", "Chroma", ('"block_index"',)),
            (MMDIT_MODEL, "OpenAISignatureMMDITWrapper", "SD3.5", ()),
            ("comfy/ldm/qwen_image/model.py", "QwenImageTransformer2DModel", "Qwen-Image", ('"block_index"',)),
            ("comfy/ldm/lumina/model.py", "NextDiT", "Z-Image", ('"block_index"', "self.rope_embedder")),
        )
    ),
    Need(BASE, "BaseModel._apply_model", "references that ride along", takes=("x", "t"),
         keywords=("transformer_options",)),
    Need(BASE, "BaseModel.process_latent_in", "references that ride along", takes=("latent",)),
    Need("comfy/model_sampling.py", "EPS.noise_scaling", "references that ride along",
         takes=("sigma", "noise", "latent_image", "max_denoise")),
    Need(SAMPLERS, "encode_model_conds", "references that ride along",
         takes=("model_function", "conds", "noise", "device", "prompt_type")),
    Need("comfy/sampler_helpers.py", "convert_cond", "references that ride along", takes=("cond",)),
    Need(OPENAI, "Upsample", "references that ride along"),
    Need(OPENAI, "Downsample", "references that ride along"),
    Need("comfy_api/torch_helpers/torch_compile.py", "COMPILE_KEY", "every call is prepared as for TorchCompileModel",
         spare=True),
)  # fmt: skip
FILES = (
    *(
        Need(PATHS, name, "model files: no loader finds any")
        for name in ("folder_names_and_paths", "models_dir", "supported_pt_extensions", "filename_list_cache",
                     "get_filename_list", "get_folder_paths", "recursive_search")
    ),
    *(
        Need(PATHS, name, "saved embeds and batches of pictures")
        for name in ("get_input_directory", "get_output_directory", "get_save_image_path")
    ),
    _prompts(PATCHER, "CoreModelPatcher"),
    _prompts(PATCHER, "ModelPatcher.__init__", takes=("model", "load_device", "offload_device")),
    *(
        _prompts("comfy/model_management.py", name)
        for name in ("load_models_gpu", "get_torch_device", "unet_offload_device", "intermediate_device",
                     "throw_exception_if_processing_interrupted")
    ),
    _prompts("comfy/ops.py", "manual_cast"),
    Need("comfy/sd.py", "load_lora_for_models", "LoRAs of FaceID",
         takes=("model", "clip", "lora", "strength_model", "strength_clip")),
    Need("comfy/utils.py", "load_torch_file", "LoRAs of FaceID", takes=("ckpt",), keywords=("safe_load",)),
    Need("comfy/clip_vision.py", "ClipVisionModel.encode_image", "references of every loader of CLIP Vision",
         takes=("image",), keywords=("crop",)),
    Need("comfy/clip_model.py", "CLIPVisionEmbeddings", "pictures of 448 pixels, of Style for NoobAI",
         texts=("self.position_embedding.weight", "self.patch_embedding(", "self.class_embedding")),
    Need("comfy/clip_vision.py", "load", "references of every loader of CLIP Vision", takes=("ckpt_path",)),
)  # fmt: skip
PAGE = (
    Need("server.py", "PromptServer.send_progress_text", "notes on nodes", takes=("text", "node_id")),
    Need("server.py", "", "drawings in nodes", texts=("web.RouteTableDef()", "self.routes")),
    Need("comfy_api/latest/__init__.py", "ComfyExtension", "every node of the pack"),
    Need("nodes.py", "NODE_CLASS_MAPPINGS", "the warning of another pack with the same nodes"),
    Need("nodes.py", "common_ksampler", "sweeps and studies",
         takes=("model", "seed", "steps", "cfg", "sampler_name", "scheduler", "positive", "negative", "latent")),
)  # fmt: skip
NEEDS: tuple[Need, ...] = (*ATTACHING, *SAMPLING, *ATTENDING, *FILES, *PAGE)
