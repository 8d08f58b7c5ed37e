"""From the folders that runs leave behind to tables and figures."""
