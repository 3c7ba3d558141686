"""Headless Chromium for tests of the page, or the reason why there is none."""

import json
import shutil
import time
from contextlib import contextmanager

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
except ImportError:
    webdriver = None

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)


def why_no_browser():
    """One line, or "" where the tests can run."""
    if webdriver is None:
        return "selenium is not installed (pip install '.[test]')"
    if CHROMIUM is None or DRIVER is None:
        return "no Chromium with its driver (on Debian: apt-get install chromium chromium-driver)"
    return ""


@contextmanager
def chromium(profile, *flags):
    """A driver of a fresh browser with its profile in the folder `profile`; it logs console and network."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def open_page(driver, path, width=1280, height=900, mobile=False, seconds=60):
    """Open the file at `path`, empty the logs before, and wait until its scripts are done; milliseconds they took."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": mobile})
    driver.get("about:blank")
    driver.get_log("browser"), driver.get_log("performance")
    driver.get(path.resolve().as_uri())
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ready = driver.execute_script("return document.documentElement.dataset.readyAfter")
        if ready:
            return int(ready)
        time.sleep(0.05)
    raise TimeoutError(f"{path} was not ready after {seconds} s: {driver.get_log('browser')}")


def console(driver):
    """Messages of the console since the page was opened: errors, warnings, violations of the policy."""
    return [entry["message"] for entry in driver.get_log("browser")]


def requests(driver):
    """Addresses that the page asked for since it was opened, the page itself included."""
    messages = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
