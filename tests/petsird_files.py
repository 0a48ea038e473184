"""PETSIRD scanners, headers and files as the package petsird writes them."""

from pathlib import Path

import numpy as np
import petsird
from petsird.helpers.create import initialize_scanner_information_dimensions
from petsird.helpers.generator import CylindricalBlocksInfo, get_scanner_geometry

from csrd.seeds import generator

APART = 3  # modules that are nearer to one another than that are not in coincidence


def cylinder(
    modules: int = 12,
    crystals: tuple[int, int, int] = (1, 4, 6),
    size: tuple[float, float, float] = (20.0, 8.0, 8.0),
    along_axis: int = 1,
    spacing: float = 0.0,
    radius: float = 100.0,
    windows: int = 1,
    start_angle: float = 0.1,
    centred: bool = True,
) -> petsird.ScannerInformation:
    """Return a cylinder of flat modules: depths × columns × rings of crystals of a size in mm.

    The package's own example puts boxes half a crystal beside their places, which `centred` undoes.
    """
    block = CylindricalBlocksInfo(
        crystal_length=size, num_crystals_per_module=crystals, num_modules_along_ring=modules,
        num_modules_along_axis=along_axis, radius=radius, arc=2 * np.pi, start_angle=start_angle,
        module_spacing_along_axis=spacing, number_of_tof_bins=5, tof_resolution=50.0, LLD=430.0, ULD=650.0,
        number_of_event_energy_bins=windows, energy_resolution=0.1, material_id=1,
    )  # fmt: skip
    scanner = petsird.ScannerInformation(
        model_name="Test cylinder", scanner_geometry=get_scanner_geometry([block])
    )
    for corner in scanner.scanner_geometry.replicated_modules[
        0
    ].object.detecting_elements.object.shape.corners:
        corner.c -= np.array([0, size[1] / 2, size[2] / 2], np.float32) * centred
    initialize_scanner_information_dimensions(scanner, 1, True, False)
    scanner.event_energy_bin_edges[0] = petsird.BinEdges(
        edges=np.linspace(430, 650, windows + 1, dtype=np.float32)
    )
    scanner.tof_bin_edges[0][0] = petsird.BinEdges(edges=np.linspace(-200, 200, 6, dtype=np.float32))
    scanner.detection_efficiencies.detection_bin_efficiencies[0] = [1.0] * detection_bins(scanner)
    angle = np.arange(modules * along_axis) // along_axis
    apart = abs(angle[:, None] - angle)
    facing = np.minimum(apart, modules - apart) >= APART
    scanner.detection_efficiencies.module_pair_sgidlut = [
        [[[0 if yes else -1 for yes in row[: number + 1]] for number, row in enumerate(facing)]]
    ]
    return scanner


def detection_bins(scanner: petsird.ScannerInformation) -> int:
    module = scanner.scanner_geometry.replicated_modules[0]
    windows = len(scanner.event_energy_bin_edges[0].edges) - 1
    return len(module.transforms) * len(module.object.detecting_elements.transforms) * windows


def header_of(scanner: petsird.ScannerInformation, nuclide: str = "^18^Fluorine") -> petsird.Header:
    """Return the header of an exam with that radionuclide."""
    agent = petsird.DICOMRadiopharmaceuticalInformation(
        radionuclide_code_sequence=petsird.DICOMBasicCodeSequence(code_meaning=nuclide)
    )
    signal = petsird.ExternalSignal(type=petsird.ExternalSignalTypeEnum.RESP_TRACE, id=7)
    exam = petsird.ExamInformation(modality="PT", radiopharmaceuticals=[agent], external_signals=[signal])
    return petsird.Header(scanner=scanner, exam=exam)


def coincidences(scanner: petsird.ScannerInformation, number: int, name: object) -> list:
    """Return random events of any two detection bins, the larger first."""
    draw = generator(1, "petsird-events", name)
    pairs = np.sort(draw.integers(detection_bins(scanner), size=(number, 2)))[:, ::-1]
    return [
        petsird.CoincidenceEvent(detection_bins=pair, tof_idx=tof)
        for pair, tof in zip(pairs.tolist(), draw.integers(5, size=number).tolist(), strict=True)
    ]


def time_blocks(scanner: petsird.ScannerInformation, events: int = 60) -> list[petsird.TimeBlock]:
    """Return time blocks of every kind, five of them of events, each of 10 ms."""
    blocks = []
    for number in range(5):
        interval = petsird.TimeInterval(start=10 * number, stop=10 * number + 10)
        singles = [petsird.SingleEvent(detection_bin=n, time_offset_in_time_block=n) for n in range(4)]
        triples = [petsird.TripleEvent(detection_bins=[9, 5, 2], tof_indices=[1, 2])]
        blocks += [
            petsird.TimeBlock.EventTimeBlock(
                petsird.EventTimeBlock(
                    time_interval=interval,
                    single_events=[singles],
                    prompt_events=[[coincidences(scanner, events, ("prompts", number))]],
                    delayed_events=[[coincidences(scanner, events // 3, ("delayeds", number))]],
                    triple_events=[[[triples]]],
                )
            ),
            petsird.TimeBlock.ExternalSignalTimeBlock(
                petsird.ExternalSignalTimeBlock(time_interval=interval, signal_id=7, signal_values=[0.5, 1.5])
            ),
        ]
    moved = petsird.RigidTransformation(matrix=np.eye(3, 4, dtype=np.float32))
    interval = petsird.TimeInterval(start=0, stop=50)
    alive = petsird.AliveTimeFractions(singles_alive_time_fractions=[np.full(3, 0.9, np.float32)])
    blocks.insert(0, petsird.TimeBlock.BedMovementTimeBlock(
        petsird.BedMovementTimeBlock(time_interval=interval, transform=moved)))  # fmt: skip
    blocks.insert(3, petsird.TimeBlock.GantryMovementTimeBlock(
        petsird.GantryMovementTimeBlock(time_interval=interval, transforms=[moved])))  # fmt: skip
    blocks.insert(4, petsird.TimeBlock.DeadTimeTimeBlock(
        petsird.DeadTimeTimeBlock(time_interval=interval, alive_time_fractions=alive)))  # fmt: skip
    singles = [[300, 2]]
    blocks.append(petsird.TimeBlock.SinglesHistogramTimeBlock(
        petsird.SinglesHistogramTimeBlock(time_interval=interval, singles_per_detection_bin_histogram=singles)
    ))  # fmt: skip
    return blocks


def write(path: Path, header: petsird.Header, blocks: list[petsird.TimeBlock]) -> Path:
    """Write a file by the package, its blocks in parts of different sizes."""
    with petsird.BinaryPETSIRDWriter(str(path)) as writer:
        writer.write_header(header)
        writer.write_time_blocks(blocks[:3])
        writer.write_time_blocks(iter(blocks[3:]))
    return path


def read(path: Path) -> tuple[petsird.Header, list[petsird.TimeBlock]]:
    """Return what the package reads from a file."""
    with petsird.BinaryPETSIRDReader(str(path)) as reader:
        return reader.read_header(), list(reader.read_time_blocks())
