"""A table of ComfyUI's functions and options that the pack uses; doctor/host.py checks it (docs/architecture.md)."""

from dataclasses import dataclass

UNET, FLUX, MMDIT = "unet", "flux", "mmdit"  # image prompts in a structure of ipadapter/sites.py
UNET_REFERENCES, REFERENCES = "references in UNets", "references in transformers"
PROMPTS = (UNET, FLUX, MMDIT)
ALL = (*PROMPTS, UNET_REFERENCES, REFERENCES)
# What `Need.lost` says of parts that the pack does without (nodes/host.py)
NOTES, DRAWINGS = "notes on nodes, which are in the log only", "drawings in nodes"
MEMORY = "memory that ComfyUI frees for what references keep while a model samples"
OTHER_PACKS = "the warning of another pack with the same nodes"
REPLACEMENT = "replacing the encoder of October 2023 in old workflows"
OPENCLIP = "encoders of the OpenCLIP loader"
INSTANTID = "the half of InstantID in its ControlNet"
OLDEST = "0.16.3"
MORE = "..."
LEAST_TORCH = (2, 7)  # of ComfyUI since 0.32, and the oldest PyTorch that the tests were run on


@dataclass(frozen=True)
class Need:
    """A name or texts in a file of ComfyUI, on which the pack depends.

    Args:
        name: a function, class or variable of the module, or Class.attribute; "" if only `texts` are compared
        takes: the first parameters after `self`, in the order in which the pack passes or receives them; with MORE at
            the end, others without a default may follow, since the pack hands them on
        keywords: parameters that the pack passes by name
        texts: strings in the file's source, where ComfyUI reads or writes an option
        lost: what does not work without it; if it is `spare`, how the pack works without it
        refused: what is refused without it, because pictures would be wrong: some of ALL, INSTANTID, or ComfyUI's class
            of a transformer with references
        since: the first tested release that has it; on older ones, what is `lost` is missing too
        spare: whether the pack works without it, as `lost` describes
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


PATCHER, SAMPLERS, BASE = "comfy/model_patcher.py", "comfy/samplers.py", "comfy/model_base.py"
EXTENSION, ATTENTION, PATHS = "comfy/patcher_extension.py", "comfy/ldm/modules/attention.py", "folder_paths.py"
OPENAI = "comfy/ldm/modules/diffusionmodules/openaimodel.py"
MMDIT_MODEL = "comfy/ldm/modules/diffusionmodules/mmdit.py"
FLUX_MODEL, FLUX_LAYERS = "comfy/ldm/flux/model.py", "comfy/ldm/flux/layers.py"
KREA_MODEL = "comfy/ldm/krea2/model.py"
MANAGEMENT, VISION = "comfy/model_management.py", "comfy/clip_vision.py"


def _drawing(
    file: str,
    name: str,
    refused: tuple[str, ...] = ALL,
    takes: tuple[str, ...] = (),
    keywords: tuple[str, ...] = (),
    texts: tuple[str, ...] = (),
) -> Need:
    """A need of image prompts or references: those of ALL that are `refused` without it."""
    kinds = (("image prompts", PROMPTS), ("references in self-attentions", (UNET_REFERENCES, REFERENCES)))
    lost = " and ".join(kind for kind, of_kind in kinds if set(of_kind) & set(refused))
    return Need(file, name, lost, takes, keywords, texts, refused)


ATTACHING = (
    *(
        _drawing(PATCHER, f"ModelPatcher.{name}", takes=takes)
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
    _drawing(PATCHER, "ModelPatcher.set_model_attn2_replace", (UNET,),
             takes=("patch", "block_name", "number", "transformer_index")),
    _drawing(PATCHER, "ModelPatcher.set_model_patch_replace", (FLUX, MMDIT),
             takes=("patch", "name", "block_name", "number")),
    _drawing(PATCHER, "", texts=("CallbacksMP.ON_CLONE", "CallbacksMP.ON_CLEANUP")),
    _drawing(PATCHER, "", texts=("self.object_patches", "self.object_patches_backup", "self.model_options",
                                 "self.patches", "self.model.current_patcher")),
    *(_drawing(EXTENSION, f"CallbacksMP.{name}") for name in ("ON_CLONE", "ON_CLEANUP")),
    *(_drawing(EXTENSION, f"WrappersMP.{name}") for name in ("SAMPLER_SAMPLE", "CALC_COND_BATCH", "APPLY_MODEL")),
    _drawing(EXTENSION, "", texts=("self.class_obj", '"wrappers"')),
)  # fmt: skip
SAMPLING = (
    _drawing(SAMPLERS, "KSAMPLER.sample", takes=("model_wrap", "sigmas", "extra_args", "callback", "noise", MORE)),
    _drawing(SAMPLERS, "calc_cond_batch", takes=("model", "conds", "x_in", "timestep", "model_options", MORE)),
    _drawing(SAMPLERS, "", texts=("WrappersMP.SAMPLER_SAMPLE", "WrappersMP.CALC_COND_BATCH")),
    *(
        _drawing(SAMPLERS, "", texts=(f'transformer_options["{option}"]',))
        for option in ("cond_or_uncond", "uuids", "sigmas")
    ),
    _drawing(BASE, "BaseModel.apply_model",
             takes=("x", "t", "c_concat", "c_crossattn", "control", "transformer_options", MORE)),
    _drawing(BASE, "", texts=("WrappersMP.APPLY_MODEL", "self.diffusion_model", "self.model_sampling",
                              "self.current_patcher")),
    _drawing(SAMPLERS, "", PROMPTS, texts=('"area"',)),  # a mask is cut to its conditioning's area
    _drawing("comfy/sampler_helpers.py", "", texts=('["uuid"]',)),  # tells the conditionings of a guider apart
    _drawing(SAMPLERS, "CFGGuider", texts=("self.conds", "self.cfg", "self.model_patcher")),
    *(
        _drawing("comfy/model_sampling.py", f"{schedule}.percent_to_sigma", refused, takes=("percent",))
        for schedule, refused in {
            "ModelSamplingDiscrete": (UNET, UNET_REFERENCES), "ModelSamplingFlux": (FLUX, REFERENCES),
            "ModelSamplingDiscreteFlow": (MMDIT, REFERENCES),
        }.items()
    ),
    Need("comfy/context_windows.py", "", "a picture, a weight or a mask for each frame in context windows",
         texts=('["context_window"]', "index_list")),
    Need("comfy/context_windows.py", "", "context windows with an anchor frame",
         texts=("'causal_anchor_index'", "window.causal_anchor_index"), since="0.24.0"),
)  # fmt: skip
ATTENDING = (
    _drawing(ATTENTION, "optimized_attention"),
    _drawing(ATTENTION, "attention_pytorch", takes=("q", "k", "v", "heads", "mask"),
             keywords=("attn_precision", "skip_reshape", "skip_output_reshape")),
    *(  # a release may have fewer of them; one that it has is called with these arguments
        Need(ATTENTION, name, "the other attention functions of ComfyUI", takes=takes,
             keywords=("attn_precision", "skip_reshape", "skip_output_reshape"), refused=ALL, spare=True)
        for name, takes in {
            "attention_basic": ("q", "k", "v", "heads"), "attention_split": ("q", "k", "v", "heads"),
            "attention_sub_quad": ("query", "key", "value", "heads"),
        }.items()
    ),
    *(
        _drawing(ATTENTION, "", (UNET, UNET_REFERENCES), texts=(text,))
        for text in (
            'transformer_options["activations_shape"]', 'transformer_options["block_index"]', '"n_heads"',
            '"patches_replace"',
        )
    ),
    Need(ATTENTION, "", "cross-attentions in ComfyUI's usual precision", texts=('"attn_precision"',), spare=True),
    _drawing(ATTENTION, "", (UNET,), texts=('"attn2"', "self.attn2", "self.heads", "self.dim_head", "self.to_q",
                                            "self.to_k", "self.to_v", "self.to_out")),
    _drawing(ATTENTION, "", (UNET, UNET_REFERENCES), texts=("self.transformer_blocks", "self.attn1")),
    _drawing(OPENAI, "", (UNET, UNET_REFERENCES), texts=("self.input_blocks", "self.middle_block",
                                                         "self.output_blocks")),
    _drawing(ATTENTION, "", (UNET_REFERENCES,), texts=('"attn1"',)),
    *(
        _drawing(ATTENTION, "", (FLUX, MMDIT, REFERENCES), texts=(text,))
        for text in ('"optimized_attention_override"', '"_inside_attn_wrapper"')
    ),
    _drawing(OPENAI, "", (UNET, UNET_REFERENCES), texts=('transformer_options["block"]',)),
    *(
        _drawing(file, "", (structure,), texts=(text,))
        for file, structure, texts in (
            (FLUX_MODEL, FLUX, ('.get("dit"', '("double_block", i)', '("single_block", i)', '"original_block"', '"pe"',
                                'transformer_options["img_slice"]', "self.double_blocks", "self.single_blocks",
                                "self.pe_embedder", "self.txt_in", "self.patch_size")),
            (MMDIT_MODEL, MMDIT, ('.get("dit"', '("double_block", i)', '"original_block"', '"vec"', "self.joint_blocks",
                                  "self.context_embedder", "self.x_block", "self.num_heads", "self.head_dim",
                                  "self.patch_size")),
        )
        for text in ('"img"', '"txt"', *texts)
    ),
    _drawing(FLUX_LAYERS, "", (FLUX,), texts=("self.num_heads", "self.hidden_size")),
    Need(FLUX_LAYERS, "", "queries are rotated back", texts=('"attn1_patch"',), since="0.18.2", spare=True),
    *(
        Need("comfy/controlnet.py", f"ControlBase.{name}", INSTANTID, takes=takes, refused=(INSTANTID,))
        for name, takes in {
            "set_previous_controlnet": ("controlnet",),
            "control_merge": ("control", "control_prev", "output_dtype"),
            "pre_run": ("model", "percent_to_timestep_function"),
            "get_models": (),
            "cleanup": (),
        }.items()
    ),
    Need("comfy/controlnet.py", "ControlNet.get_control", INSTANTID, refused=(INSTANTID,),
         takes=("x_noisy", "t", "cond", "batched_number", "transformer_options"),
         texts=("'crossattn_controlnet'", "self.timestep_range")),
    _drawing(BASE, "", (REFERENCES,), texts=('"ref_latents"',)),
    _drawing(BASE, "", (UNET_REFERENCES, REFERENCES), texts=("self.latent_format",)),
    *(
        Need(file, name, f"references in {title}", texts=texts, refused=(name,), since=since)
        for file, name, title, texts, since in (
            (FLUX_MODEL, "Flux", "Flux", ('"rope_options"', '"block_type"', '"block_index"'), OLDEST),
            ("comfy/ldm/chroma/model.py", "Chroma", "Chroma", ('"block_index"',), OLDEST),
            (MMDIT_MODEL, "OpenAISignatureMMDITWrapper", "SD3.5", (), OLDEST),
            ("comfy/ldm/qwen_image/model.py", "QwenImageTransformer2DModel", "Qwen-Image", ('"block_index"',), OLDEST),
            ("comfy/ldm/lumina/model.py", "NextDiT", "Z-Image", ('"block_index"', "self.rope_embedder"), OLDEST),
            (KREA_MODEL, "SingleStreamDiT", "Krea 2", ('"block_index"', '"ref_latents_method"'), "0.30.0"),
        )
    ),
    *(
        _drawing(file, name, (UNET_REFERENCES, REFERENCES), takes, keywords)
        for file, name, takes, keywords in (
            (BASE, "BaseModel._apply_model", ("x", "t"), ("transformer_options",)),
            (BASE, "BaseModel.process_latent_in", ("latent",), ()),
            (BASE, "BaseModel.extra_conds", (), ()),
            ("comfy/model_sampling.py", "EPS.noise_scaling", ("sigma", "noise", "latent_image", "max_denoise"), ()),
            ("comfy/conds.py", "CONDRegular.process_cond", ("batch_size",), ()),
            (SAMPLERS, "encode_model_conds", ("model_function", "conds", "noise", "device", "prompt_type"), ()),
            ("comfy/sampler_helpers.py", "convert_cond", ("cond",), ()),
        )
    ),
    _drawing(OPENAI, "Upsample", (UNET_REFERENCES,)),
    _drawing(OPENAI, "Downsample", (UNET_REFERENCES,)),
    Need("comfy_api/torch_helpers/torch_compile.py", "COMPILE_KEY", "every call is prepared as for TorchCompileModel",
         spare=True),
)  # fmt: skip
FILES = (
    *(
        Need(PATHS, name, "model files: no loader finds any")
        for name in ("folder_names_and_paths", "models_dir", "supported_pt_extensions", "filename_list_cache",
                     "get_filename_list", "get_folder_paths")
    ),
    *(
        Need(PATHS, name, "saved embeds and batches of pictures")
        for name in ("get_input_directory", "get_output_directory", "get_save_image_path", "recursive_search")
    ),
    _drawing(PATCHER, "CoreModelPatcher", PROMPTS),
    _drawing(PATCHER, "ModelPatcher.__init__", PROMPTS, takes=("model", "load_device", "offload_device")),
    *(
        _drawing(MANAGEMENT, name, PROMPTS)
        for name in ("get_torch_device", "unet_offload_device")
    ),
    _drawing(MANAGEMENT, "load_models_gpu", PROMPTS, takes=("models",)),
    _drawing("comfy/ops.py", "manual_cast", PROMPTS),
    Need("comfy/sd.py", "load_lora_for_models", "LoRAs of FaceID",
         takes=("model", "clip", "lora", "strength_model", "strength_clip")),
    Need("comfy/utils.py", "load_torch_file", "LoRAs of FaceID", takes=("ckpt",), keywords=("safe_load",)),
    *(
        Need("comfy/utils.py", name, "LoRAs of FaceID on a model with modules of another pack", takes=takes)
        for name, takes in {"get_attr": ("obj", "attr"), "set_attr": ("obj", "attr", "value")}.items()
    ),
    Need(VISION, "ClipVisionModel.encode_image", "references of every loader of CLIP Vision",
         takes=("image",), keywords=("crop",), texts=("self.image_size", "self.image_mean", '"image_embeds"',
                                                      '"penultimate_hidden_states"')),
    Need(VISION, "load", "references of every loader of CLIP Vision", takes=("ckpt_path",)),
    Need("comfy/clip_model.py", "CLIPVisionEmbeddings", "pictures of 448 pixels, of Style for NoobAI",
         texts=("self.position_embedding.weight", "self.patch_embedding(", "self.class_embedding")),
    Need(VISION, "Output", OPENCLIP),
    Need("comfy/clip_model.py", "clip_preprocess", OPENCLIP, takes=("image", "size", "mean", "std", "crop")),
    *(
        Need(MANAGEMENT, name, OPENCLIP)
        for name in ("load_model_gpu", "text_encoder_device", "text_encoder_dtype", "text_encoder_offload_device",
                     "intermediate_device")
    ),
    *(
        Need(file, name, "the demo nodes")
        for file, name in (
            ("comfy/latent_formats.py", "LatentFormat"), ("comfy/supported_models.py", "SD15"), (BASE, "ModelType"),
            ("comfy/ldm/models/autoencoder.py", "AutoencoderKL"),
        )
    ),
    Need("comfy/sd.py", "VAE.encode", "nodes with a VAE", takes=("pixel_samples",)),
    Need("comfy/sd.py", "VAE.decode", "nodes with a VAE", takes=("samples_in",)),
    Need("comfy/utils.py", "common_upscale", "references without an adapter",
         takes=("samples", "width", "height", "upscale_method", "crop")),
    Need("node_helpers.py", "conditioning_set_values", "InstantID, and strengths in conditionings",
         takes=("conditioning", "values")),
    *(
        Need(file, "", "anime models are known by their prediction alone", texts=("cached_patcher_init",), spare=True)
        for file in (PATCHER, "comfy/sd.py")
    ),
    Need("comfy/utils.py", "ProgressBar.__init__", "downloads by nodes", takes=("total",)),
    Need(MANAGEMENT, "throw_exception_if_processing_interrupted", "downloads by nodes"),
    Need("utils/extra_config.py", "load_extra_path_config", "the doctor and fetch of atelier.py"),
)  # fmt: skip
PAGE = (
    Need("comfy_api/latest/__init__.py", "ComfyExtension", "every node of the pack",
         texts=("_io_public as io", "_ui_public as ui")),
    *(
        Need("comfy_api/latest/_io.py", name, "every node of the pack")
        for name in ("Schema", "ComfyNode", "NodeOutput", "Input", "Output", "Custom", "MultiType", "Boolean", "Combo",
                     "Float", "Int", "String", "Image", "Mask", "Latent", "Model", "ClipVision", "Vae", "Conditioning",
                     "ControlNet", "Sigmas")
    ),
    *(Need("comfy_api/latest/_ui.py", name, "previews of nodes") for name in ("PreviewImage", "PreviewText")),
    Need("comfy_execution/validation.py", "validate_node_input", "links to IPAdapter, which an earlier form had too",
         takes=("received_type", "input_type")),
    Need("comfy_execution/utils.py", "get_executing_context", NOTES, texts=("node_id",)),
    Need("server.py", "PromptServer.send_progress_text", NOTES, takes=("text", "node_id", "sid"),
         texts=("self.client_id = None",)),
    Need(EXTENSION, "WrappersMP.PREPARE_SAMPLING", MEMORY),
    Need("comfy/sampler_helpers.py", "prepare_sampling", MEMORY, takes=("model", "noise_shape", "conds", MORE)),
    Need("server.py", "", DRAWINGS, texts=("web.RouteTableDef()", "self.routes")),
    Need("nodes.py", "NODE_CLASS_MAPPINGS", OTHER_PACKS),
    Need("comfy_api/latest/__init__.py", "ComfyAPI", REPLACEMENT, texts=("self.node_replacement",)),
    Need("comfy_api/latest/_io.py", "NodeReplace", REPLACEMENT),
    Need("nodes.py", "common_ksampler", "sweeps and studies",
         takes=("model", "seed", "steps", "cfg", "sampler_name", "scheduler", "positive", "negative", "latent")),
    *(Need(SAMPLERS, f"KSampler.{name}", "sweeps and studies") for name in ("SAMPLERS", "SCHEDULERS")),
)  # fmt: skip
NEEDS: tuple[Need, ...] = (*ATTACHING, *SAMPLING, *ATTENDING, *FILES, *PAGE)
