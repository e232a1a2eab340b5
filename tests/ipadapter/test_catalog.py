"""The table of what exists agrees with itself, and with what the loaders know."""

import pytest

from harness.model_tables import PAGE, TABLES, between
from pack.ipadapter import catalog
from pack.ipadapter.catalog import ADAPTERS, CATALOG, ENCODERS, FACE_PACKS, LORAS, needs
from pack.ipadapter.families import FAMILIES
from pack.ipadapter.mechanisms import VARIANTS
from pack.model_files.names import check_repository, target


def names(files):
    return [file.name for file in files]


def test_every_file_stands_there_once():
    assert len(set(names(CATALOG))) == len(CATALOG)
    addresses = [file.url for file in CATALOG if file.url]
    assert len(set(addresses)) == len(addresses)


@pytest.mark.parametrize("file", CATALOG, ids=lambda file: file.name)
def test_every_file_can_be_fetched_under_its_name_or_is_to_be_had_by_hand(tmp_path, file):
    assert target(tmp_path, file.name).name == file.name
    if file.path:
        if not file.source.address:
            check_repository(file.source.repository, file.path)
        assert file.url.startswith("https://")
        assert file.kind == "face pack" or file.name.rpartition(".")[2] == file.path.rpartition(".")[2]
    assert file.sha256 is None or len(file.sha256) == 64
    assert file.source.licence


@pytest.mark.parametrize("file", ADAPTERS, ids=lambda file: file.name)
def test_every_adapter_says_what_it_is_and_what_it_needs(file):
    assert file.variant in VARIANTS and file.family in {*FAMILIES, "flux", "sd3.5"} and file.good_at
    assert file.encoder in ("", *names(ENCODERS)) and file.face_pack in ("", *names(FACE_PACKS))
    assert file.encoder or file.face_pack
    assert names(needs(file))[0] == file.name and all(needs(file))


@pytest.mark.parametrize("file", [f for f in CATALOG if f.patterns], ids=lambda file: file.name)
def test_its_own_name_finds_a_file_and_no_other_adapters_name_does_first(file):
    assert file.matches([file.name]) == [file.name]
    others = [other.name for other in CATALOG if other.kind == file.kind]
    assert file.matches(others)[0] == file.name


def test_every_variant_that_files_are_told_to_be_is_published():
    assert {file.variant for file in ADAPTERS} == set(VARIANTS)


@pytest.mark.parametrize("name", TABLES)
def test_the_readme_s_tables_are_those_of_the_one_table(name):
    written = between(PAGE.read_text("utf-8"), name)
    assert written == TABLES[name](catalog), "run: python tests/harness/model_tables.py"
    assert all(f"`{file.name}`" in PAGE.read_text("utf-8") for file in CATALOG)


def test_every_lora_belongs_to_an_adapter():
    assert {(lora.preset, lora.family) for lora in LORAS} <= {(file.preset, file.family) for file in ADAPTERS}
