# Added to sdkconfig.hil: counts who holds memory, by task and by call site.
CONFIG_HOTPIN_MEM_PROFILE=y
