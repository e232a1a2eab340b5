"""Run our face code on whatever insightface comes first on sys.path; one line of JSON per picture."""

import importlib.util
import json
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
root = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("pack", root / "__init__.py", submodule_search_locations=[str(root)])
assert spec and spec.loader
sys.modules["pack"] = importlib.util.module_from_spec(spec)
sys.path.insert(0, str(root / "tests"))

import insightface  # noqa: E402

from faces.assets import load_photo  # noqa: E402
from pack.encoders.face_models import load_pack  # noqa: E402
from pack.encoders.faces import face_features  # noqa: E402

print("json", json.dumps(insightface.__version__))
analysis = load_pack(Path(sys.argv[1]), "CPU")
before = analysis.det_model.input_size
for file in sys.argv[2:]:
    faces = face_features(analysis, load_photo(Path(file)), 224)
    kept = analysis.det_model.input_size == before
    print("json", json.dumps({"embeds": faces.embeds[0].tolist(), "settings_kept": kept}))
