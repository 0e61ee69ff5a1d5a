"""How soon the site shows a picture, on a phone's network, and how fast its sliders answer.

    python -m tests.browser.bench_site    (make bench-site)    of what make site has made

The site is served from this machine, compressed as GitHub does, to a page as small as a phone's,
with a processor a quarter as fast, by the browser's own throttles; times are its own, too.
"""

import gzip
import sys
import threading
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median, quantiles

from playwright.sync_api import sync_playwright

from .bench_flipbook import EVENTS, FRAME, hardware
from .lab import key_times, launch, new_page

SITE = Path(__file__).parents[2] / "site"
TIMES = 5
MBIT = 1_000_000 / 8
# As Chrome's developer tools have them: bytes a second, and ms until an answer begins.
NETWORKS = {
    "4G": {"downloadThroughput": 9 * MBIT, "uploadThroughput": 1.5 * MBIT, "latency": 165},
    "slow 4G": {
        "downloadThroughput": 1.44 * MBIT,
        "uploadThroughput": 0.675 * MBIT,
        "latency": 562.5,
    },
}
WATCH = """() => {
    window.shifted = 0;
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) shifted += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
    new PerformanceObserver((list) => { window.largest = list.getEntries().at(-1); })
        .observe({ type: "largest-contentful-paint", buffered: true });
    new PerformanceObserver((list) => {
        window.first = list.getEntries().find((x) => x.name === "first-contentful-paint") ?? window.first;
    }).observe({ type: "paint", buffered: true });
    // The first frame in which the first picture is there.
    const look = () => {
        const picture = document.querySelector("article img");
        if (picture?.complete && picture.naturalWidth && picture.getBoundingClientRect().width)
            requestAnimationFrame(() => { window.pictured = performance.now(); });
        else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
    const alive = () => document.documentElement?.dataset.alive
        ? (window.alive = performance.now()) : setTimeout(alive, 5);
    alive();
}"""


class Handler(SimpleHTTPRequestHandler):
    """Files as GitHub Pages sends them: compressed, on a connection that stays."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return self.send_error(404)
        body = packed(path)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Nothing."""


@cache
def packed(path):
    return gzip.compress(path.read_bytes())


def loads(browser, address, network):
    """What a first visit takes, in ms, and how much the page moves by itself: {name: median}."""
    visits = []
    for _ in range(TIMES):
        with new_page(browser) as page:
            page.set_viewport_size({"width": 360, "height": 740})
            tools = page.context.new_cdp_session(page)
            tools.send("Network.enable")
            tools.send("Network.emulateNetworkConditions", {"offline": False, **NETWORKS[network]})
            tools.send("Emulation.setCPUThrottlingRate", {"rate": 4})
            page.add_init_script(f"({WATCH})()")
            page.set_default_timeout(60_000)
            page.goto(address, timeout=60_000)
            page.wait_for_function("window.alive && window.first && window.largest")
            page.wait_for_timeout(500)
            visits.append(
                page.evaluate("({ text: first.startTime, picture: window.pictured ?? null, "
                "largest: largest.startTime, alive, shifted })")
            )  # fmt: skip
    told = {name: [visit[name] for visit in visits] for name in visits[0]}
    return {name: median(ms) for name, ms in told.items() if None not in ms}


def steps(browser, address, slider, shown):
    """ms from a key on a slider to the frame with its picture, on a desk: (median, p95, slowest).

    The slowest is until that was on the screen, by the browser's own clock, or 16 if it does not say.
    """
    with new_page(browser) as page:
        page.goto(address)
        page.wait_for_selector("html[data-alive]", state="attached")
        control = page.get_by_role("slider", name=slider, exact=True).first
        control.press("Home")
        places = min(5, int(control.get_attribute("max")))
        page.evaluate(EVENTS)
        times = key_times(page.locator(shown).first, control, 40, places)
        page.wait_for_timeout(300)
        slowest = page.evaluate("Math.max(16, ...Object.values(slowest))")
    return median(times), quantiles(times, n=20)[-1], slowest


def main():
    if not (SITE / "index.html").exists():
        sys.exit("Run make site first.")
    handler = partial(Handler, directory=str(SITE))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    met = {}
    with sync_playwright() as playwright:
        browser = launch(playwright)
        print(
            f"{'a first visit, ms':34}"
            + "".join(f"{x:>9}" for x in ("text", "picture", "largest", "alive", "shifted"))
        )
        for name in ("index", "06_grouped_query_attention", "11_every_factor", "calculator"):
            for network in NETWORKS:
                took = loads(browser, f"{address}/{name}.html", network)
                row = [
                    f"{took[x]:>9.0f}" if x in took else f"{'':9}"
                    for x in ("text", "picture", "largest", "alive")
                ]
                print(f"{name:27}{network:>7}" + "".join(row) + f"{took['shifted']:>9.3f}")
                if (name, network) == ("index", "4G"):
                    met["the home page's first picture on 4G within a second"] = (
                        took["picture"] <= 1000
                    )
        pages = {
            "index": ("K/V heads g", ".flipbook-stage"),
            "06_grouped_query_attention": ("K/V heads g", ".flipbook-stage"),
            "11_every_factor": ("tokens", ".flipbook-stage"),
            "calculator": ("s · tokens", ".calculator-card"),
            "09_where_the_speed_up_stops": ("bandwidth", ".formula-stage"),
        }
        for name, (slider, shown) in pages.items():
            middle, late, slowest = steps(browser, f"{address}/{name}.html", slider, shown)
            print(
                f"a step of a slider, {name}: a frame with its picture after {middle:.1f} ms (median "
                f"of 40), p95 {late:.1f} ms; on the screen after {slowest:.0f} ms at most"
            )
            met[f"{name}: a step within a frame"] = middle <= FRAME and slowest <= 2 * FRAME
        print(hardware(browser))
        browser.close()
    print(*(f"{'met   ' if x else 'MISSED'}  {goal}" for goal, x in met.items()), sep="\n")
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
