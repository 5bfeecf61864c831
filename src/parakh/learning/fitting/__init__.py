"""Models from a training set: folds in time, trees and a baseline, calibration, the card."""
