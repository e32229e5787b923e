"""browser.py URL: a headless Chromium that does what its standard input says, one JSON object a line.

    {"do": "open", "hash": "#/sql"}                   shows a view
    {"do": "write", "into": CSS, "text": "…"}         replaces the text of a field
    {"do": "click", "on": CSS}                        clicks
    {"do": "read", "from": CSS}                       answers with the texts of all elements that match
    {"do": "shot", "path": "….png", "theme": "dark"}  takes a picture

Each is answered by one line of JSON: {"answer": …} or {"error": "…"}. At the end of the input it prints what the browser's console
complained about, as {"complaints": [...]}.
"""

import json
import os
import shutil
import sys

sys.path.insert(0, os.environ["SHARDLAKE_SELENIUM"])

from selenium import webdriver  # noqa: E402
from selenium.common.exceptions import WebDriverException  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--window-size=1280,860"]
READ = "return Array.from(document.querySelectorAll(arguments[0]), found => found.textContent)"
WRITE = """const field = document.querySelector(arguments[0]); field.value = arguments[1];
           field.dispatchEvent(new Event('input', {bubbles: true}))"""


def start():
    # The driver gives the browser a new profile and removes it.
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    # Not Debian's script of that name: the driver would end the script, and the browser would stay.
    options.binary_location = "/usr/lib/chromium/chromium-headless-shell"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def obey(browser, url, order):
    match order["do"]:
        case "open":
            browser.get(url + "/" + order["hash"])
        case "write":
            browser.execute_script(WRITE, order["into"], order["text"])
        case "click":
            browser.find_element(By.CSS_SELECTOR, order["on"]).click()
        case "read":
            return browser.execute_script(READ, order["from"])
        case "shot":
            browser.execute_script("document.documentElement.dataset.theme = arguments[0]", order["theme"])
            browser.save_screenshot(order["path"])
        case unknown:
            raise ValueError(f"unknown order {unknown}")
    return None


def main(url):
    browser = start()
    try:
        for line in sys.stdin:
            try:
                print(json.dumps({"answer": obey(browser, url, json.loads(line))}), flush=True)
            except (WebDriverException, ValueError) as error:
                print(json.dumps({"error": str(error).splitlines()[0]}), flush=True)
        complaints = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        print(json.dumps({"complaints": complaints}), flush=True)
    finally:
        browser.quit()


main(*sys.argv[1:])
