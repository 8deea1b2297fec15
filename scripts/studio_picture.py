"""Takes a picture of an open task in Label Studio; runs in the environment of scripts/setup_studio, with Chromium.

python scripts/studio_picture.py ADDRESS EMAIL PASSWORD TASK_PATH TEXT OUTPUT
"""

from __future__ import annotations

import shutil
import sys

from playwright.sync_api import sync_playwright


def main(address: str, email: str, password: str, task: str, text: str, output: str) -> None:
    """Log in, open the task, and wait until the page shows the text."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.goto(f"{address}/user/login")
        page.fill("input[name=email]", email)
        page.fill("input[name=password]", password)
        page.click("button[type=submit]")
        page.wait_for_load_state()
        page.goto(f"{address}{task}")
        page.get_by_text(text, exact=True).first.wait_for(timeout=120_000)
        # The waveform is drawn last, on a canvas that says nothing when it is done.
        page.wait_for_timeout(5_000)
        page.screenshot(path=output)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
