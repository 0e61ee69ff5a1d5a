"""deploy/: what an administrator is given fits the chart, TLJH, the measurements, and itself."""

import ast
import copy
import csv
import fnmatch
import importlib.util
import ipaddress
import os
import re
import shutil
import subprocess
from functools import reduce
from urllib.parse import parse_qs, unquote, urlsplit

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lessons import ROOT
from traitlets.config import Config

from course_utils import copies
from makers import publish

DEPLOY = ROOT / "deploy"


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def text(name):
    return (DEPLOY / name).read_text(encoding="utf-8")


def read(name):
    return yaml.safe_load(text(name))


def merged(values, more):
    """As helm merges two files: objects into each other, all else replaced."""
    both = isinstance(values, dict) and isinstance(more, dict)
    return values | {k: merged(values.get(k), v) for k, v in more.items()} if both else more


sizes, link = module(DEPLOY / "sizes.py"), module(DEPLOY / "link.py")
VALUES, GPU, TLJH = read("values.yaml"), read("gpu.yaml"), read("tljh.yaml")
README, DOCKERFILE = text("README.md"), text("Dockerfile")
CHART = jsonschema.Draft7Validator(read("chart-schema.yaml"))

# The chart


@pytest.mark.parametrize("values", [VALUES, merged(VALUES, GPU)])
def test_the_chart_knows_every_value(values):
    assert [error.message for error in CHART.iter_errors(values)] == []


LOGIN = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", README, flags=re.S)]


def test_the_chart_knows_what_the_readme_adds():
    assert {key for values in LOGIN for key in values} == {"hub", "proxy"}
    for values in LOGIN:
        assert [error.message for error in CHART.iter_errors(merged(VALUES, values))] == []


WRONG = [
    ("singleuser.memory.guarantees", "448M"),  # misspelt
    ("singleUser", {}),
    ("cull.max_age", 43200),  # as TLJH has it
    ("singleuser.networkPolicy.egressAllowRules.privateIps", False),
    ("cull.timeout", "1h"),  # of another type
    ("singleuser.cpu.limit", "2"),
    ("scheduling.podPriority", True),
    ("proxy.https.type", "tls"),  # none of those there are
    ("singleuser.image", {"name": "one-key-many-queries"}),  # without a tag
    ("singleuser.profileList", {"cpu": {}}),
]


@pytest.mark.parametrize("where, value", WRONG)
def test_a_wrong_value_is_refused(where, value):
    values = copy.deepcopy(VALUES)
    *into, last = where.split(".")
    reduce(dict.__getitem__, into, values)[last] = value
    assert not CHART.is_valid(values)


# Of KubeSpawner 7.1.0, jupyterhub-kubespawner on PyPI: those that a profile of ours overrides
TRAITS = {"image", "extra_resource_limits", "mem_guarantee", "mem_limit", "tolerations"}


def test_a_gpu_is_a_choice_and_not_the_default():
    cpu, gpu = GPU["singleuser"]["profileList"]
    assert cpu["default"] is True and "default" not in gpu
    assert "kubespawner_override" not in cpu and gpu["kubespawner_override"].keys() == TRAITS
    image = VALUES["singleuser"]["image"]
    assert gpu["kubespawner_override"]["image"] == "{name}:{tag}-cuda".format(**image)
    assert gpu["kubespawner_override"]["extra_resource_limits"] == {"nvidia.com/gpu": "1"}


def test_the_image_is_of_this_version():
    tag = VALUES["singleuser"]["image"]["tag"]
    assert tag == publish.settings()[0]
    assert f"one-key-many-queries:{tag} ." in README and f":{tag} ." in DOCKERFILE


def test_one_chart_and_its_jupyterhub_are_named_throughout():
    charts = re.findall(r"[Cc]hart (\d+\.\d+\.\d+)", README + text("values.yaml"))
    charts += re.findall(r"--version (\S+)", README)
    assert len(charts) >= 4 and set(charts) == {"4.4.0"}
    pinned = re.findall(r"^([a-z-]+)==([\d.]+)$", text("requirements.txt"), flags=re.M)
    asked = [line for line in text("requirements.txt").splitlines() if not line.startswith("#")]
    assert [f"{name}=={version}" for name, version in pinned] == asked  # nothing floats
    assert f"JupyterHub {dict(pinned)['jupyterhub']}" in README
    assert f"nbgitpuller {dict(pinned)['nbgitpuller']}" in README


def test_nobody_gets_in_before_it_is_said_who():
    assert VALUES["hub"]["config"]["JupyterHub"]["authenticator_class"] == "null"


def reaches(address, port):
    """Whether the network policy lets a student's server speak there, names aside."""
    policy = VALUES["singleuser"]["networkPolicy"]
    for rule in policy["egress"]:
        blocks = [to["ipBlock"] for to in rule["to"]]
        here = ipaddress.ip_address(address)
        inside = any(
            here in ipaddress.ip_network(block["cidr"])
            and not any(here in ipaddress.ip_network(x) for x in block["except"])
            for block in blocks
        )
        if inside and any((x["protocol"], x["port"]) == ("TCP", port) for x in rule["ports"]):
            return True
    return False


NOT_PUBLIC = [
    ipaddress.ip_network("10.0.0.0/8"),  # RFC 1918, as the next two
    ipaddress.ip_network("172.16.0.0/12"),
    ipaddress.ip_network("192.168.0.0/16"),
    ipaddress.ip_network("100.64.0.0/10"),  # of providers, and of the pods of some
    ipaddress.ip_network("169.254.0.0/16"),  # of the machine's own link: credentials
]


@given(
    st.ip_addresses(v=4) | st.sampled_from(NOT_PUBLIC).flatmap(lambda n: st.ip_addresses(network=n))
)
def test_a_student_reaches_public_https_and_nothing_else(address):
    assert reaches(address, 443) != any(address in network for network in NOT_PUBLIC)
    assert not reaches(address, 80) and not reaches(address, 22)


def test_no_rule_of_the_chart_opens_more_than_names():
    policy = VALUES["singleuser"]["networkPolicy"]
    rules = policy["egressAllowRules"]
    opened = {name for name, is_open in rules.items() if is_open}
    chart = read("chart-schema.yaml")["definitions"]["network"]["properties"]["egressAllowRules"]
    assert rules.keys() == chart["properties"].keys()  # none is left to the chart
    assert policy["enabled"] and opened == {x for x in rules if x.startswith("dnsPorts")}
    assert VALUES["singleuser"]["cloudMetadata"]["blockWithIptables"]


def test_a_disk_holds_the_lessons_a_hundred_times():
    lessons = sum(path.stat().st_size for path in (ROOT / "notebooks").glob("*.ipynb"))
    capacity = VALUES["singleuser"]["storage"]["capacity"]
    assert capacity == f"{sizes.DISK}Gi" and 100 * lessons < sizes.DISK * 2**30


# Sizes

KERNELS = [
    {"lesson": "00", "private_mib": 100.0, "peak_mib": 110.0},
    {"lesson": "01", "private_mib": 200.0, "peak_mib": 900.0},
    {"lesson": "02", "private_mib": 600.0, "peak_mib": 600.0},
]


def a_class(**other):
    row = {"hardware": "2 cores, 24 GiB", "students": 10.0, "failures": 0.0}
    row |= {"spawn_p95_s": 50.0, "first_picture_p95_s": 70.0}
    return row | {"server_private_mib": 70.0, "shared_mib": 300.0} | other


def test_what_a_student_needs_worked_by_hand():
    need = sizes.needs(KERNELS, [a_class()])
    assert need.memory_guarantee == 320  # 70 + 200 + 300 / 10 = 300, in steps of 64
    assert need.memory_limit == 2048  # 70 + 300 + 900 + 3 × 200 = 1870, in steps of 256
    assert need.memory_peak == 1024  # 70 + 900 + 300 / 10 = 1000, in steps of 64
    assert need.cpu_guarantee == 0.2 and need.cpu_limit == 2  # 2 cores for 10


def test_the_largest_class_without_a_failure_or_a_long_wait_counts():
    rows = [a_class(students=5.0), a_class(students=20.0)]
    rows += [a_class(students=30.0, spawn_p95_s=51.0), a_class(students=40.0, failures=1.0)]
    assert sizes.needs(KERNELS, rows).students == 20
    said = (
        r"^a class needs 0 failures and a wait of at most 120 s, .* were 0 and 121 s; 1 and 120 s"
    )
    with pytest.raises(ValueError, match=said):
        sizes.needs(KERNELS, rows[2:])


mib, some = st.floats(1, 4000), st.integers(1, 60)


@given(st.lists(st.tuples(mib, mib), min_size=1), mib, mib, some, st.integers(1, 16))
def test_a_student_gets_what_was_measured(lessons, server, shared, students, cores):
    kernels = [{"private_mib": a, "peak_mib": a + b} for a, b in lessons]
    row = a_class(
        hardware=f"{cores} cores, 24 GiB",
        students=float(students),
        server_private_mib=server,
        shared_mib=shared,
    )
    need = sizes.needs(kernels, [row])
    assert need.memory_limit >= server + shared + max(lesson["peak_mib"] for lesson in kernels)
    assert need.memory_guarantee < need.memory_limit + sizes.STEP
    below = [a for a, _ in lessons if server + a <= need.memory_guarantee]
    assert 2 * len(below) >= len(lessons)  # half of the lessons fit
    assert students * need.cpu_guarantee >= cores - 1e-9


NEEDS = st.builds(
    sizes.Needs,
    st.integers(64, 4096),
    st.just(1),
    st.just(1),
    st.floats(0.01, 4),
    st.just(2),
    some,
    st.just(""),
)


@given(NEEDS, some, st.integers(1, 64), st.integers(1, 512))
def test_nodes_hold_the_class_and_one_less_does_not(need, students, vcpu, gib):
    def fits(count):
        enough = count * need.memory_guarantee <= gib * 1024
        return enough and count * need.cpu_guarantee <= vcpu + 1e-6

    each = 0
    while fits(each + 1):
        each += 1
    assert sizes.held(need, vcpu, gib) == each
    if not each:
        said = (
            rf"^a node of {vcpu} vCPU and {gib} GiB holds no student, who needs .*: take a larger"
        )
        with pytest.raises(ValueError, match=said):
            sizes.nodes(need, students, vcpu, gib)
    else:
        count = sizes.nodes(need, students, vcpu, gib)
        assert count * each >= students > (count - 1) * each


@given(NEEDS, some, st.floats(0, 10), st.floats(0, 10))
def test_the_class_pays_for_whole_nodes(need, students, vcpu_hour, gib_hour):
    vcpu, gib = 8, 64
    hour = sizes.student_hour(need, students, vcpu, gib, vcpu_hour, gib_hour)
    node = vcpu * vcpu_hour + gib * gib_hour
    assert hour * students == pytest.approx(sizes.nodes(need, students, vcpu, gib) * node)


def test_the_files_say_what_was_measured():
    tables = (sizes.table(sizes.RESULTS / name) for name in ("kernels.csv", "hub.csv"))
    said = sizes.settings(sizes.needs(*tables))
    assert {name: VALUES["singleuser"][name] for name in said} == said
    assert TLJH["limits"] == {name: said[name]["limit"] for name in said}


def test_the_readme_says_what_was_measured():
    hub = sizes.table(sizes.RESULTS / "hub.csv")
    need = sizes.needs(sizes.table(sizes.RESULTS / "kernels.csv"), hub)
    for row in hub:
        waits = f"{row['spawn_p95_s']:.0f} s | {row['first_picture_p95_s']:.0f} s"
        rest = f"{row['check_p95_s']:.2f} s | {row['machine_mib'] / 1024:.1f} GiB"
        assert f"| {row['students']:.0f} | {waits} | {rest} | {row['failures']:.0f} |" in README
    assert sizes.report(need, 30, 4, 16) in README
    cost = sizes.student_hour(need, 30, 4, 16, vcpu_hour=0.03, gib_hour=0.004)
    assert f"A student-hour costs {cost:.4f}." in README


def test_the_command_says_it(monkeypatch, tmp_path, capsys):
    with open(tmp_path / "hub.csv", "w") as file:
        table = csv.DictWriter(file, a_class().keys())
        table.writeheader()
        table.writerow(a_class())
    lines = [f"{x['lesson']},{x['private_mib']},{x['peak_mib']}" for x in KERNELS]
    prices = ["--vcpu-hour", "0.03", "--gib-hour", "0.004", "--disk-gib-month", "0.1"]
    monkeypatch.setattr(sizes, "RESULTS", tmp_path)
    with pytest.raises(SystemExit):
        sizes.main(prices)
    assert capsys.readouterr().err.endswith("kernels.csv: make bench-kernels measures it\n")
    (tmp_path / "kernels.csv").write_text("\n".join(["lesson,private_mib,peak_mib", *lines]))
    sizes.main([*prices, "--students", "30"])
    said = capsys.readouterr().out
    assert "320 MiB   2048 MiB" in said and "holds 20 students;\na class of 30 needs 2." in said
    assert f"A student-hour costs {2 * (4 * 0.03 + 16 * 0.004) / 30:.4f}." in said
    assert "The disks of the class cost 3.00 a month" in said
    assert "all of them: 6 cores, 10 GiB;\n30 GiB if all are at the peak" in said  # 30 of 320, 1024
    sizes.main([])
    assert "costs" not in capsys.readouterr().out  # no price is made up
    with pytest.raises(SystemExit):
        sizes.main(["--gib-hour", "1"])
    assert "give --vcpu-hour and --gib-hour" in capsys.readouterr().err


# The Littlest JupyterHub

# The `default` of tljh/configurer.py in github.com/jupyterhub/the-littlest-jupyterhub, which knows
# services.cull, and what its config_schema.py says of their types
TLJH_KEYS = {
    "base_url": str,
    "auth": {"type": str, "FirstUseAuthenticator": {"create_users": bool}},
    "users": {"allowed": list, "banned": list, "admin": list, "extra_user_groups": dict},
    "limits": {"memory": str, "cpu": int},
    "http": {"address": str, "port": int},
    "https": {
        "enabled": bool,
        "address": str,
        "port": int,
        "tls": {"cert": str, "key": str},
        "letsencrypt": {"email": str, "domains": list, "staging": bool},
    },
    "user_environment": {"default_app": str},
    "services": {
        "cull": {
            "enabled": bool,
            "timeout": int,
            "every": int,
            "concurrency": int,
            "users": bool,
            "max_age": int,
            "remove_named_servers": bool,
        }
    },
}


def unknown(given, known, at=""):
    """Where a configuration says what TLJH does not know, or says it in another type."""
    if not isinstance(known, dict):
        return [] if type(given) is known else [at]
    wrong = [f"{at}.{key}" for key in given if key not in known]
    return wrong + [
        x for k, v in given.items() if k in known for x in unknown(v, known[k], f"{at}.{k}")
    ]


def test_tljh_knows_every_key():
    assert unknown(TLJH, TLJH_KEYS) == []
    assert unknown({"limits": {"mem": "1G"}}, TLJH_KEYS) == [".limits.mem"]
    assert unknown({"limits": {"cpu": "2"}}, TLJH_KEYS) == [".limits.cpu"]


def test_both_ways_have_the_same_limits_and_idle_times():
    cull, there = TLJH["services"]["cull"], VALUES["cull"]
    assert cull == {"max_age": there["maxAge"]} | {
        x: there[x] for x in ("enabled", "timeout", "every")
    }


def test_both_ways_start_the_same():
    c = Config()
    exec(compile(text("tljh.py"), "tljh.py", "exec"), {"get_config": lambda: c})
    folder, command = os.path.split(c.Spawner.cmd[0])
    assert [folder] == c.SystemdSpawner.extra_paths and f"{folder}/\n" in DOCKERFILE
    assert (
        command == VALUES["singleuser"]["cmd"] == ast.literal_eval(DOCKERFILE.split("CMD ")[1])[0]
    )
    first = min(copies.lessons())
    for url in (c.Spawner.default_url, VALUES["singleuser"]["defaultUrl"]):
        assert url == f"/lab/tree/my_lessons/{first}.ipynb"


# The image


def set_up(lines):
    """What the set-up of an environment is told to install, after its folder."""
    found = re.findall(r"start\.py set-up (\S+) (.*)", lines)
    return {folder: arguments.split() for folder, arguments in found}


def test_the_image_is_what_is_tested():
    tested = set_up((ROOT / "Makefile").read_text())[".venv-hub"]
    assert "deploy/requirements.txt" in tested and "." in tested
    assert set_up(DOCKERFILE) == {"/opt/course": tested}
    assert set_up(README) == {"/opt/course": tested}  # on one machine


def test_the_image_for_a_gpu_takes_torch_with_cuda(tmp_path):
    (command,) = re.findall(r"sed -i '(.*)' start\.py", DOCKERFILE)
    shutil.copy(ROOT / "start.py", tmp_path)
    assert module(tmp_path / "start.py").CPU_INDEX
    subprocess.run(["sed", "-i", command, "start.py"], cwd=tmp_path, check=True)
    (tmp_path / "start.py").rename(tmp_path / "start_cuda.py")
    assert module(tmp_path / "start_cuda.py").CPU_INDEX == ""


def test_what_git_ignores_is_not_in_the_image():
    def names(path):
        lines = path.read_text().splitlines()
        return [x.strip("/") for x in lines if x and x[0] not in "#!"]

    left_out = names(ROOT / ".dockerignore")
    ignored = [x for x in names(ROOT / ".gitignore") if not x.endswith(".csv")]
    ignored += [f"deploy/{x}" for x in names(DEPLOY / ".gitignore")]
    for name in ignored:
        inside = [x.removeprefix("**/") for x in left_out] + [f"{x}/*" for x in left_out]
        assert any(fnmatch.fnmatch(name, x) for x in inside), name


def program(path, lines):
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


@pytest.mark.parametrize("code", [0, 1])
def test_a_student_gets_a_server_even_without_copies(code, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "home").mkdir()
    program(tmp_path / "bin" / "python", ['echo "python $*"', f"exit {code}"])
    said = ['echo "server $* in $PWD with $OMP_NUM_THREADS"', "exit 7"]
    program(tmp_path / "bin" / "jupyterhub-singleuser", said)
    place = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path / "home")}
    start = [str(DEPLOY / "start-course"), "--port=1", "two words"]
    done = subprocess.run(start, env=place, cwd="/", capture_output=True, text=True)
    assert done.returncode == 7
    assert done.stdout.splitlines() == [
        "python -m course_utils.copies",
        f"server --port=1 two words in {tmp_path / 'home'} with 1",
    ]
    assert ("could not be copied" in done.stderr) == bool(code)


def test_the_start_is_a_program():
    start = DEPLOY / "start-course"
    assert os.access(start, os.X_OK)
    subprocess.run(["sh", "-n", str(start)], check=True)


# Links

HUB = "https://hub.example.org"


def test_a_link_says_to_nbgitpuller_what_it_reads():
    """As git-pull of nbgitpuller 1.3.0 reads it: repo, branch, urlpath; the folder from repo."""
    made = link.pull_link(
        f"{HUB}/", link.lesson_file("06"), "https://github.com/o/na me+x&y/", "b&c"
    )
    parts = urlsplit(made)
    assert (parts.scheme, parts.netloc) == ("https", "hub.example.org")
    assert parts.path == "/hub/user-redirect/git-pull"
    read = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert read.keys() == {"repo", "branch", "urlpath"}
    assert (read["repo"], read["branch"]) == ("https://github.com/o/na me+x&y", "b&c")
    folder = read["repo"].rstrip("/").split("/")[-1]
    path = unquote(read["urlpath"])  # the page that opens is an address itself
    assert path == f"lab/tree/{folder}/notebooks/06_grouped_query_attention.ipynb"
    assert (ROOT / "notebooks" / path.rpartition("/")[2]).exists()


def test_a_link_leads_to_an_own_copy():
    names = [f"{name}.ipynb" for name in copies.lessons()]
    assert [link.lesson_file(x[:2]) for x in names] == names
    assert [link.lesson_file(x) for x in (6, "6", None)] == [names[6], names[6], names[0]]
    made = link.copy_link(HUB, link.lesson_file(6))
    assert made == f"{HUB}/hub/user-redirect/lab/tree/my_lessons/06_grouped_query_attention.ipynb"
    assert made in README


@pytest.mark.parametrize(
    "hub, said",
    [
        (
            "http://hub.example.org",
            "sends passwords in the clear: set up https, and write https://",
        ),
        (
            "hub.example.org",
            "'hub.example.org' is no address of a hub: write https:// and its name",
        ),
        ("ftp://hub.example.org", "is no address of a hub"),
        ("https://hub.example.org?x=1", "has more than an address"),
    ],
)
def test_an_address_is_refused(hub, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        link.copy_link(hub, "x.ipynb")


@pytest.mark.parametrize("hub", ["http://localhost:8000", "http://127.0.0.1:8000", f"{HUB}/base/"])
def test_an_address_is_taken(hub):
    assert link.copy_link(hub, "x.ipynb").startswith(f"{hub.rstrip('/')}/hub/user-redirect/")


def test_a_link_that_cannot_work_is_refused():
    there = ", ".join(name[:2] for name in copies.lessons())
    with pytest.raises(ValueError, match=f"^there is no lesson '77'; there are {there}$"):
        link.lesson_file("77")
    with pytest.raises(ValueError, match=r"^v0\.1\.0 looks like a tag.*: name a branch$"):
        link.pull_link(HUB, "x.ipynb", "https://github.com/o/n", "v0.1.0")


@pytest.mark.parametrize("published", ["", "owner/name@v0.1.0"])
def test_the_repository_is_where_the_course_is_published(published, tmp_path):
    (tmp_path / "pyproject.toml").write_text(f'[tool.course]\npublished = "{published}"\n')
    if published:
        assert link.repository(tmp_path) == "https://github.com/owner/name"
    else:
        with pytest.raises(ValueError, match="published nowhere: make publish REPO=owner/name, or"):
            link.repository(tmp_path)


def test_the_command_prints_a_link(capsys):
    link.main([HUB, "06", "--repo", "https://github.com/owner/name"])
    made = capsys.readouterr().out.strip()
    assert made == link.pull_link(HUB, link.lesson_file(6), "https://github.com/owner/name", "main")
    link.main([HUB, "--copy"])
    assert capsys.readouterr().out.strip() == link.copy_link(HUB, link.lesson_file(None))
    with pytest.raises(SystemExit) as ended:
        link.main([HUB, "77", "--copy"])
    assert ended.value.code == 1 and "there is no lesson '77'" in capsys.readouterr().err


# What is written

FILES = [path for path in sorted(DEPLOY.iterdir()) if path.is_file()]
SECRET = re.compile(
    r"""(?ix) \b \w*(password|passwd|passphrase|secret|token|cookie|credential|api_?key|private_?key)
    \w* ["']? [ \t]* [:=] [ \t]* (?P<value>[^\s{\[#].*)"""
)


def secrets_in(words):
    """What looks like a secret with a value; <…>, a type of the schema and nothing are none."""
    found = (match["value"].strip() for match in SECRET.finditer(words))
    return [x for x in found if x[0] not in "<*" and x not in ("null", '""', "''", "false", "true")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_secret_is_written_down(path):
    assert secrets_in(path.read_text(encoding="utf-8")) == []


def test_a_secret_would_be_found():
    for line in ("client_secret: 8f2c", 'password = "x"', "  cookieSecret: 'a'", "API_TOKEN=t"):
        assert secrets_in(f"a: 1\n{line}\n"), line
    for line in (
        "client_secret: <of the app>",
        "secretToken:",
        "password: null",
        "password: *text",
    ):
        assert not secrets_in(f"{line}\n"), line


def test_the_readme_knows_every_file():
    rows = re.findall(r"^\| (`.*?) \|", README, flags=re.M)
    named = [name for row in rows for name in re.findall(r"`(.*?)`", row)]
    there = {path.name for path in FILES} - {"README.md", ".gitignore", "login.yaml"}
    assert sorted(named) == sorted(there)
    for name in re.findall(r"deploy/([\w.-]+\w)", README):
        assert (DEPLOY / name).exists() or name == "login.yaml"  # which is theirs to write


def test_links_within_the_readme_lead_somewhere():
    headings = re.findall(r"^#+ (.*)", README, flags=re.M)
    anchors = {re.sub(r"[^\w -]", "", x.lower()).replace(" ", "-") for x in headings}
    links = re.findall(r"\]\(([^)]+)\)", README)
    inside = {x.removeprefix("#") for x in links if x.startswith("#")}
    assert inside and inside <= anchors
    files = [x for x in links if not x.startswith(("#", "http"))]
    assert files and all((DEPLOY / x).exists() for x in files)


def test_comments_of_the_values_lead_somewhere():
    for heading in re.findall(r'README\.md, "(.*?)"', text("values.yaml")):
        assert re.search(rf"^#+ (\d\. )?{heading}$", README, flags=re.M), heading
