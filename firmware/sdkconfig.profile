# Added to sdkconfig.hil: counts memory in use, by task and by call site.
CONFIG_HOTPIN_MEM_PROFILE=y
