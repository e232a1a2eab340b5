"""The table of published files agrees with itself, with public lists of hashes and with the page that shows it."""

from authoring.model_tables import PAGE, TABLES, between
from pack.ipadapter import catalog
from pack.ipadapter.catalog import ADAPTERS, ANIME, BY_NAME, CATALOG, ENCODERS, FACE_PACKS, LORAS, at, needs
from pack.ipadapter.families import FAMILIES
from pack.ipadapter.hashes import HASHES
from pack.ipadapter.mechanisms import VARIANTS
from pack.ipadapter.presets import PRESETS, same_tensors
from pack.ipadapter.published import ART
from pack.model_files.names import check_repository, target


def names(files):
    return [file.name for file in files]


def test_every_file_stands_there_once():
    assert len(set(names(CATALOG))) == len(CATALOG)
    addresses = [file.url for file in CATALOG if file.url]
    assert len(set(addresses)) == len(addresses)


def test_every_file_has_an_address_that_a_download_accepts_or_none(tmp_path):
    for file in CATALOG:
        assert target(tmp_path, file.name).name == file.name and file.source.licence
        if file.path:
            if not file.source.address:
                check_repository(file.source.repository, file.path)
            assert file.url.startswith("https://")
            assert file.kind == "face pack" or file.name.rpartition(".")[2] == file.path.rpartition(".")[2], file.name


def test_every_known_hash_is_that_of_a_file_and_reaches_its_download():
    lost = []
    for address, (sha256, size) in HASHES.items():
        owner, name, path = address.split("/", 2)
        file = at(f"{owner}/{name}", path)
        if file is None or (file.request["sha256"], file.request["size"]) != (sha256, size):
            lost.append(address)
    assert lost == [] and len(HASHES) == 27
    assert all(len(sha256) == 64 and int(sha256, 16) for sha256, _ in HASHES.values())


def test_every_adapter_says_what_it_is_and_what_it_needs():
    for file in ADAPTERS:
        assert file.variant in VARIANTS and file.family in FAMILIES and file.good_at, file.name
        assert file.encoder in ("", *names(ENCODERS)) and file.face_pack in ("", *names(FACE_PACKS)), file.name
        assert (file.encoder or file.face_pack) and names(needs(file))[0] == file.name, file.name


def test_the_name_of_a_file_finds_it_before_all_others():
    for file in (file for file in CATALOG if file.patterns):
        others = [other.name for other in CATALOG if other.kind == file.kind]
        assert file.matches([file.name]) == [file.name] and file.matches(others)[0] == file.name, file.name


def test_of_adapters_with_the_same_tensors_at_most_one_is_found_without_its_name():
    for file in ADAPTERS:
        unnamed = [each.name for each in (file, *same_tensors(file)) if not each.only_by_name]
        assert len(unnamed) == 1, unnamed


def test_every_variant_that_tensors_can_show_is_published():
    named_only = {ART}  # its encoder cannot be read, so catalog.RECOGNISED lists it
    assert {file.variant for file in ADAPTERS} | named_only == set(VARIANTS)


def test_the_tables_of_the_page_are_those_of_the_one_table():
    page = PAGE.read_text("utf-8")
    for name, make in TABLES.items():
        assert between(page, name) == make(catalog), "run: python -m authoring.model_tables"
    assert [file.name for file in (*CATALOG, *catalog.RECOGNISED) if f"`{file.name}`" not in page] == []


def test_every_lora_belongs_to_an_adapter():
    assert {(lora.preset, lora.family) for lora in LORAS} <= {(file.preset, file.family) for file in ADAPTERS}


def test_the_anime_preset_is_noobai_s_adapter_with_its_encoder_and_its_licence_is_said():
    adapter = PRESETS[ANIME].adapters["sdxl"]
    assert adapter.name == "noobIPAMARK1_mark1.safetensors" and "fair-ai" in adapter.source.licence
    assert BY_NAME[adapter.encoder].sizes == (1280, 1664, 257)
    assert "research purposes only" in BY_NAME["instantid-ip-adapter.bin"].source.licence
