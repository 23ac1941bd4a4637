"""Every command: its place, and its line in the help. Listing them imports none of them."""

from __future__ import annotations

COMMANDS: dict[str, tuple[str, str]] = {
    "attach": ("rootless.cli.attach:attach", "Attach local standard streams to a running container"),
    "create": ("rootless.cli.create:create", "Create a new container"),
    "exec": ("rootless.cli.exec_:exec_", "Execute a command in a running container"),
    "history": ("rootless.cli.history:history", "Show the history of an image"),
    "image prune": ("rootless.cli.image_prune:image_prune", "Remove unused images"),
    "images": ("rootless.cli.images:images", "List images"),
    "import": ("rootless.cli.import_:import_", "Import the contents from a tarball to create a filesystem image"),
    "inspect": ("rootless.cli.inspect:inspect", "Return low-level information on containers and images"),
    "kill": ("rootless.cli.stop:kill", "Kill one or more running containers"),
    "load": ("rootless.cli.save:load", "Load images from a tar archive or STDIN"),
    "login": ("rootless.cli.login:login", "Authenticate to a registry"),
    "logout": ("rootless.cli.login:logout", "Log out from a registry"),
    "logs": ("rootless.cli.logs:logs", "Fetch the logs of a container"),
    "pause": ("rootless.cli.stop:pause", "Pause all processes within one or more containers"),
    "ps": ("rootless.cli.ps:ps", "List containers"),
    "pull": ("rootless.cli.pull:pull", "Download an image from a registry"),
    "push": ("rootless.cli.push:push", "Upload an image to a registry"),
    "rename": ("rootless.cli.rename:rename", "Rename a container"),
    "restart": ("rootless.cli.stop:restart", "Restart one or more containers"),
    "rm": ("rootless.cli.rm:rm", "Remove one or more containers"),
    "rmi": ("rootless.cli.rmi:rmi", "Remove one or more images"),
    "run": ("rootless.cli.run:run", "Create and run a new container from an image"),
    "save": ("rootless.cli.save:save", "Save one or more images to a tar archive"),
    "start": ("rootless.cli.start:start", "Start one or more stopped containers"),
    "stop": ("rootless.cli.stop:stop", "Stop one or more running containers"),
    "system check": ("rootless.cli.system_check:system_check", "Verify the store"),
    "system df": ("rootless.cli.system_df:system_df", "Show disk usage"),
    "tag": ("rootless.cli.tag:tag", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
    "unpause": ("rootless.cli.stop:unpause", "Unpause all processes within one or more containers"),
    "version": ("rootless.cli.version:version", "Show the version of the engine and what it stands on"),
}
"""Name to (module:attribute, help). A name with a space is a member of a group only."""

GROUPS: dict[str, tuple[str, dict[str, str]]] = {
    "container": (
        "Manage containers",
        {
            "attach": "attach",
            "create": "create",
            "exec": "exec",
            "inspect": "inspect",
            "kill": "kill",
            "logs": "logs",
            "ls": "ps",
            "pause": "pause",
            "rename": "rename",
            "restart": "restart",
            "rm": "rm",
            "run": "run",
            "start": "start",
            "stop": "stop",
            "unpause": "unpause",
        },
    ),
    "image": (
        "Manage images",
        {
            "history": "history",
            "import": "import",
            "inspect": "inspect",
            "load": "load",
            "ls": "images",
            "prune": "image prune",
            "pull": "pull",
            "push": "push",
            "rm": "rmi",
            "save": "save",
            "tag": "tag",
        },
    ),
    "system": ("Manage the store", {"check": "system check", "df": "system df"}),
}
"""Docker's groups: their help, and their words with the commands that these stand for."""
