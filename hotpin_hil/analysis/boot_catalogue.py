"""Catalogue of faults that keep a chip from starting its application: name, cause and remedy of each."""

from __future__ import annotations

from hotpin_hil.analysis.catalogue import Known
from hotpin_hil.protocol import boot_faults as faults

_FLASH_ALL = "erase the flash and flash everything: idf.py erase-flash flash"


def _known(kind: str, name: str, finding: str, cause: str, remedy: str) -> tuple[str, Known]:
    return kind, Known(kind, name, finding, cause, remedy, is_fact=True)


BOOT_FAULTS: dict[str, Known] = dict(
    (
        _known(
            faults.BLANK_FLASH,
            "No bootloader: the flash is empty",
            "The ROM read only 0xff where the bootloader should be.",
            "the flash is erased, or the bootloader was flashed to another chip's offset (0x1000 on ESP32 and S2, "
            "0x0 on S3, C3, C6 and H2, 0x2000 on P4 and C5)",
            _FLASH_ALL,
        ),
        _known(
            faults.BOOT_LOADER_DAMAGED,
            "Bootloader damaged",
            "The ROM rejects the bootloader in the flash.",
            "a damaged or interrupted flash operation, a bootloader for another chip or offset, a wrong flash mode, "
            "or a plain image on a chip with flash encryption",
            f"{_FLASH_ALL}; if it recurs, use DIO mode and 40 MHz, and check the supply while flashing",
        ),
        _known(
            faults.FLASH_READ,
            "Flash cannot be read",
            "The ROM cannot read the flash chip.",
            "a wrong flash voltage (GPIO12 is high at reset on an ESP32), a flash pin in use, or a damaged flash chip",
            "leave GPIO6 to GPIO11 and GPIO12 unconnected at reset; read the chip with esptool flash-id",
        ),
        _known(
            faults.PARTITION_TABLE,
            "Partition table damaged",
            "The bootloader rejects the partition table.",
            "the table is damaged, missing, or flashed to another offset than the bootloader expects",
            "flash it again: idf.py partition-table-flash; check CONFIG_PARTITION_TABLE_OFFSET",
        ),
        _known(
            faults.NO_APP,
            "No bootable application",
            "The bootloader finds no application that it can start.",
            "nothing is flashed at the application's offset, or the partition table has none there",
            "flash the application: idf.py flash; compare its offset with the partition table",
        ),
        _known(
            faults.APP_DAMAGED,
            "Application image damaged",
            "The bootloader rejects the application in the flash.",
            "an interrupted flash operation or OTA update, an image larger than its partition, or a flash mode or speed"
            " that the flash chip does not support",
            "flash the application again: idf.py flash; if it recurs, use DIO mode and 40 MHz",
        ),
        _known(
            faults.SECURE_BOOT,
            "Secure boot rejects the image",
            "The chip requires signed images, and rejects the signature of the bootloader or the application.",
            "the image is not signed, is signed with another key or scheme, or was changed after it was signed",
            "flash images that are signed with the key whose digest is in the eFuses (espsecure verify-signature, "
            "espefuse summary)",
        ),
        _known(
            faults.APP_TOO_LARGE,
            "Application larger than its partition",
            "The bootloader rejects the application, because its image does not fit into its partition.",
            "the partition table has too small a partition for this application",
            "use a partition table with a larger app partition (Arduino: a partition scheme such as Huge APP), or a "
            "smaller application; also flash the table",
        ),
        _known(
            faults.WRONG_CHIP,
            "Image for another chip or chip revision",
            "The bootloader rejects the image, because it does not fit this chip.",
            "the image was built for another chip of the family or for a newer revision",
            "build for this chip: idf.py set-target; lower the minimum chip revision in the configuration",
        ),
        _known(
            faults.FLASH_SIZE,
            "Flash smaller than configured",
            "The flash chip is smaller than the size in the image's header.",
            "CONFIG_ESPTOOLPY_FLASHSIZE is larger than the flash of this board",
            "set the flash size of the board, and a partition table that fits into it",
        ),
        _known(
            faults.NO_PSRAM,
            "PSRAM missing",
            "The PSRAM chip does not answer.",
            "the module has no PSRAM, or the configured mode (quad or octal), speed or pins do not fit the module",
            "set the PSRAM mode of the module; for a module without PSRAM disable CONFIG_SPIRAM",
        ),
    )
)
