"""Sizes and SHA-256 of published files, as public lists of them say; those with a size stand in two lists at least.

Plain data, by repository and the path in it. A download is compared with them.
"""

HASHES: dict[str, tuple[str, int | None]] = {
    "h94/IP-Adapter/models/image_encoder/model.safetensors": (
        "6ca9667da1ca9e0b0f75e46bb030f7e011f44f86cbfb8d5a36590fcd7507b030", 2_528_373_448,
    ),
    "h94/IP-Adapter/sdxl_models/image_encoder/model.safetensors": (
        "657723e09f46a7c3957df651601029f66b1748afb12b419816330f16ed45d64d", 3_689_912_664,
    ),
    "h94/IP-Adapter/models/ip-adapter-full-face_sd15.safetensors": (
        "f4a17fb643bf876235a45a0e87a49da2855be6584b28ca04c62a97ab5ff1c6f3", None,
    ),
    "h94/IP-Adapter-FaceID/ip-adapter-faceid-plus_sd15.bin": (
        "252fb53e0d018489d9e7f9b9e2001a52ff700e491894011ada7cfb471e0fadf2", None,
    ),
    "h94/IP-Adapter-FaceID/ip-adapter-faceid-plus_sd15_lora.safetensors": (
        "3f00341d11e5e7b5aadf63cbdead09ef82eb28669156161cf1bfc2105d4ff1cd", None,
    ),
    "h94/IP-Adapter-FaceID/ip-adapter-faceid-plusv2_sd15.bin": (
        "26d0d86a1d60d6cc811d3b8862178b461e1eeb651e6fe2b72ba17aa95411e313", 156_558_509,
    ),
    "h94/IP-Adapter-FaceID/ip-adapter-faceid-plusv2_sd15_lora.safetensors": (
        "8abff87a15a049f3e0186c2e82c1c8e77783baf2cfb63f34c412656052eb57b0", 51_059_544,
    ),
    "h94/IP-Adapter-FaceID/ip-adapter-faceid-plusv2_sdxl.bin": (
        "c6945d82b543700cc3ccbb98d363b837e9c596281607857c74b713a876daf5fb", 1_487_555_181,
    ),
    "h94/IP-Adapter-FaceID/ip-adapter-faceid-plusv2_sdxl_lora.safetensors": (
        "f24b4bb2dad6638a09c00f151cde84991baf374409385bcbab53c1871a30cb7b", 371_842_896,
    ),
    "h94/IP-Adapter-FaceID/ip-adapter-faceid-portrait-v11_sd15.bin": (
        "a48cb4f89ed18e02c6000f65aa9efec452e87eaed4a1bc9fcf4a460c8d0e3bc6", None,
    ),
    "h94/IP-Adapter-FaceID/ip-adapter-faceid-portrait_sdxl.bin": (
        "5631ce7824cdafd2db37c5e85b985730a95ff59c5b4fc80c2b79b0bee5711512", None,
    ),
    "h94/IP-Adapter-FaceID/ip-adapter-faceid-portrait_sdxl_unnorm.bin": (
        "220bb86e205393a3d0411631cb473caddbf35fd371be2905ca9008818170db55", None,
    ),
    "h94/IP-Adapter-FaceID/ip-adapter-faceid_sd15.bin": (
        "201344e22e6f55849cf07ca7a6e53d8c3b001327c66cb9710d69fd5da48a8da7", None,
    ),
    "h94/IP-Adapter-FaceID/ip-adapter-faceid_sd15_lora.safetensors": (
        "70699f0dbfadd47de1f81d263cf4c86bd4b7271d841304af9b340b3a7f38e86a", None,
    ),
    "h94/IP-Adapter-FaceID/ip-adapter-faceid_sdxl.bin": (
        "f455fed24e207c878ec1e0466b34a969d37bab857c5faa4e8d259a0b4ff63d7e", None,
    ),
    "h94/IP-Adapter-FaceID/ip-adapter-faceid_sdxl_lora.safetensors": (
        "4fcf93d6e8dc8dd18f5f9e51c8306f369486ed0aa0780ade9961308aff7f0d64", None,
    ),
    "h94/IP-Adapter/models/ip-adapter-plus-face_sd15.safetensors": (
        "1c9edc21af6f737dc1d6e0e734190e976cfacf802d6b024b77aa3be922f7569b", None,
    ),
    "h94/IP-Adapter/sdxl_models/ip-adapter-plus-face_sdxl_vit-h.safetensors": (
        "677ad8860204f7d0bfba12d29e6c31ded9beefdf3e4bbd102518357d31a292c1", None,
    ),
    "h94/IP-Adapter/models/ip-adapter-plus_sd15.safetensors": (
        "a1c250be40455cc61a43da1201ec3f1edaea71214865fb47f57927e06cbe4996", 98_183_288,
    ),
    "h94/IP-Adapter/sdxl_models/ip-adapter-plus_sdxl_vit-h.safetensors": (
        "3f5062b8400c94b7159665b21ba5c62acdcd7682262743d7f2aefedef00e6581", None,
    ),
    "h94/IP-Adapter/models/ip-adapter_sd15.safetensors": (
        "289b45f16d043d0bf542e45831f971dcdaabe18b656f11e86d9dfba7e9ee3369", 44_642_768,
    ),
    "h94/IP-Adapter/models/ip-adapter_sd15_vit-G.safetensors": (
        "a26f736af07bb341a83dfea23713531d0575760e8ed947c68cb31a4c62d9c90b", 46_215_640,
    ),
    "h94/IP-Adapter/sdxl_models/ip-adapter_sdxl.safetensors": (
        "ba1002529e783604c5f326d49f0122025392d1d20ac8d573b3eeb3e6dea4ebb6", 702_585_376,
    ),
    "h94/IP-Adapter/sdxl_models/ip-adapter_sdxl_vit-h.safetensors": (
        "ebf05d918348aec7abb02a5e9ecef77e0aaea6914a5c4ea13f50d45eb1681831", 698_391_064,
    ),
    "h94/IP-Adapter/models/ip-adapter_sd15_light_v11.bin": (
        "350b63a57847c163e2e984b01090f85ffe60eaae20f32b2b2c9e1ccc7ddd972b", 44_642_977,
    ),
    "Comfy-Org/sigclip_vision_384/sigclip_vision_patch14_384.safetensors": (
        "1fee501deabac72f0ed17610307d7131e3e9d1e838d0363aa3c2b97a6e03fb33", 856_505_640,
    ),
    "subby2006/noob-ipa/noobIPAMARK1_mark1.safetensors": (
        "5cdb6a00be1b12579745b5bed0c7b83f0869073d8a864fa8cd50a9356601919a", 1_405_172_056,
    ),
}  # fmt: skip
