"""Zones whose clocks do what clocks can do."""

from zoneinfo import ZoneInfo

ZONES = tuple(
    ZoneInfo(name)
    for name in (
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",  # half an hour
        "Africa/Casablanca",  # Ramadan
        "Pacific/Apia",  # a day that never was
        "America/Sao_Paulo",  # no midnight
        "America/Havana",  # two midnights
        "America/St_Johns",  # a minute past midnight, back into the day before
        "Asia/Kolkata",
        "Pacific/Kiritimati",
    )
)
