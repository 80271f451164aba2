"""Entry point of `python -m proxy` and of the frozen binary."""

from proxy.cli.main import main

if __name__ == "__main__":
    main()
